// Command cancel shows what becomes of tasks that are cancelled.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	tusk "github.com/tuskd/tuskd/workers/go"
)

func main() {
	ctx := context.Background()
	runs := make(chan struct{})
	worker := tusk.NewWorker(tusk.WorkerOptions{Slots: 1})
	tusk.Handle(worker, "cancel-go", func(ctx context.Context, waits bool) (any, error) {
		if !waits {
			return nil, nil
		}
		close(runs)
		<-ctx.Done()
		task, _ := tusk.TaskFromContext(ctx)
		fmt.Println("told to stop:", task.CancelReason())
		return nil, ctx.Err()
	})
	go worker.Run(ctx)
	<-worker.Ready()

	client, err := tusk.NewClient(tusk.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	submit := func(waits bool) *tusk.Task {
		task, err := client.Submit(ctx, "cancel-go", waits)
		if err != nil {
			log.Fatal(err)
		}
		return task
	}
	cancel := func(id tusk.TaskID) string {
		state, err := client.Cancel(ctx, id)
		var refused *tusk.Error
		if errors.As(err, &refused) {
			return refused.Code
		}
		return state
	}
	running := submit(true)
	<-runs
	fmt.Println("waiting:", cancel(submit(false).ID()))
	cancel(running.ID()) // "cancelling": its worker winds down
	_, err = tusk.Result[any](ctx, running)
	var ended *tusk.TaskError
	if !errors.As(err, &ended) {
		log.Fatal(err)
	}
	fmt.Println("running:", ended.State)
	over := submit(false)
	<-over.Done()
	fmt.Println("ended:", cancel(over.ID()))
	fmt.Println("unknown:", cancel(tusk.NewTaskID()))
}
