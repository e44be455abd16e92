// Command groups shows that groups take turns: whoever brings much does not hold up whoever brings little.
package main

import (
	"context"
	"fmt"
	"log"

	tusk "github.com/tuskd/tuskd/workers/go"
)

func main() {
	ctx := context.Background()
	busy, allSent := make(chan struct{}), make(chan struct{})
	worker := tusk.NewWorker(tusk.WorkerOptions{Slots: 1})
	tusk.Handle(worker, "groups-go", func(_ context.Context, tenant string) (any, error) {
		if tenant == "first" {
			close(busy)
			<-allSent
		} else {
			fmt.Println(tenant)
		}
		return nil, nil
	})
	go worker.Run(ctx)
	<-worker.Ready()

	client, err := tusk.NewClient(tusk.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Enqueue(ctx, "groups-go", "first"); err != nil {
		log.Fatal(err)
	}
	<-busy
	var tasks []*tusk.Task
	for _, tenant := range []string{"big", "big", "big", "big", "big", "small"} {
		task, err := client.Submit(ctx, "groups-go", tenant, tusk.WithGroup(tenant))
		if err != nil {
			log.Fatal(err)
		}
		tasks = append(tasks, task)
	}
	// Answered behind the tasks: the broker has them all.
	if _, err := client.Query(ctx, "status", nil); err != nil {
		log.Fatal(err)
	}
	close(allSent)
	for _, task := range tasks {
		if _, err := tusk.Result[any](ctx, task); err != nil {
			log.Fatal(err)
		}
	}
}
