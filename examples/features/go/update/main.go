// Command update changes a task while it waits.
package main

import (
	"context"
	"fmt"
	"log"

	tusk "github.com/tuskd/tuskd/workers/go"
)

func main() {
	ctx := context.Background()
	gate := make(chan struct{})
	worker := tusk.NewWorker(tusk.WorkerOptions{Slots: 1})
	tusk.Handle(worker, "update-go", func(_ context.Context, name string) (any, error) {
		if name == "first" {
			<-gate
		} else {
			fmt.Println("ran:", name)
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
	submit := func(name string) *tusk.Task {
		task, err := client.Submit(ctx, "update-go", name)
		if err != nil {
			log.Fatal(err)
		}
		return task
	}
	submit("first") // keeps the only slot busy
	plain, changed := submit("plain"), submit("original")
	update := func(change tusk.CallOption) (string, bool) {
		state, updated, err := client.Update(ctx, changed.ID(), change)
		if err != nil {
			log.Fatal(err)
		}
		return state, updated
	}
	if state, updated := update(tusk.WithBody("changed")); updated {
		fmt.Println("updated:", state)
	}
	update(tusk.WithPriority(tusk.PriorityHigh))
	close(gate)
	<-plain.Done()
	if state, updated := update(tusk.WithDelay(0)); !updated {
		fmt.Println("too late:", state)
	}
}
