// Command results asks for the results of tasks that somebody else submitted.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	tusk "github.com/tuskd/tuskd/workers/go"
)

func newClient() *tusk.Client {
	client, err := tusk.NewClient(tusk.Options{})
	if err != nil {
		log.Fatal(err)
	}
	return client
}

func main() {
	ctx := context.Background()
	worker := tusk.NewWorker(tusk.WorkerOptions{})
	tusk.Handle(worker, "results-go", func(_ context.Context, n int) (int, error) { return 10 * n, nil })
	go worker.Run(ctx)
	<-worker.Ready()

	var ids []tusk.TaskID
	first := newClient()
	for n := 1; n <= 2; n++ {
		id, err := first.Enqueue(ctx, "results-go", n, tusk.WithRetention(time.Minute))
		if err != nil {
			log.Fatal(err)
		}
		ids = append(ids, id)
	}
	first.Close()

	client := newClient()
	defer client.Close()
	for _, o := range tusk.AwaitAll[int](ctx, client, ids) {
		if o.Err != nil {
			log.Fatal(o.Err)
		}
		fmt.Println(o.Value)
	}
	task, err := client.Task(ctx, ids[0])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("state:", task.State)
	_, err = tusk.AwaitTask[int](ctx, client, tusk.NewTaskID())
	if errors.Is(err, tusk.ErrUnknownTask) {
		fmt.Println("unknown: unknown_task")
	}
}
