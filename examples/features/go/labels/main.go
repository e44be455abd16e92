// Command labels shows tasks that are listed, counted and cancelled by their labels.
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	tusk "github.com/tuskd/tuskd/workers/go"
)

func main() {
	ctx := context.Background()
	worker := tusk.NewWorker(tusk.WorkerOptions{Slots: 1})
	tusk.Handle(worker, "labels-go", func(context.Context, any) (any, error) { return nil, nil })
	go worker.Run(ctx)
	<-worker.Ready()

	client, err := tusk.NewClient(tusk.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	for _, customer := range []string{"acme", "acme", "other", "acme", "other", "acme"} {
		labels := map[string]string{"customer": customer}
		if _, err := client.Enqueue(ctx, "labels-go", nil, tusk.WithLabels(labels), tusk.WithDelay(time.Hour)); err != nil {
			log.Fatal(err)
		}
	}
	count := func(filter tusk.Filter) (n int) {
		for _, err := range client.Tasks(ctx, filter, 0) {
			if err != nil {
				log.Fatal(err)
			}
			n++
		}
		return n
	}
	acme := tusk.Filter{Type: "labels-go", State: "delayed", Labels: map[string]string{"customer": "acme"}}
	fmt.Println("acme:", count(acme), "tasks")
	counted, err := client.CancelAll(ctx, acme, tusk.DryRun())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("would cancel:", counted.Matched)
	cancelled, err := client.CancelAll(ctx, acme)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("cancelled:", cancelled.Changed)
	all := tusk.Filter{Type: "labels-go", State: "delayed"}
	fmt.Println("left:", count(all))
	if _, err := client.CancelAll(ctx, all); err != nil {
		log.Fatal(err)
	}
}
