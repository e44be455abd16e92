// Command priority shows that of the tasks that wait the most important one is next.
package main

import (
	"context"
	"fmt"
	"log"

	tusk "github.com/tuskd/tuskd/workers/go"
)

func main() {
	ctx := context.Background()
	gate, ran := make(chan struct{}), make(chan string)
	worker := tusk.NewWorker(tusk.WorkerOptions{Slots: 1})
	tusk.Handle(worker, "priority-go", func(_ context.Context, name string) (any, error) {
		if name == "first" {
			<-gate
		} else {
			ran <- name
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
	submit := func(name string, options ...tusk.CallOption) {
		if _, err := client.Enqueue(ctx, "priority-go", name, options...); err != nil {
			log.Fatal(err)
		}
	}
	submit("first") // keeps the only slot busy
	submit("low", tusk.WithPriority(tusk.PriorityLow))
	submit("normal")
	submit("high", tusk.WithPriority(tusk.PriorityHigh))
	submit("critical", tusk.WithPriority(tusk.PriorityCritical)) // any number from -100 to 100
	close(gate)
	for range 4 {
		fmt.Println(<-ran)
	}
}
