// Command order shows that tasks with one order key run one at a time, in their order, through retries too.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	tusk "github.com/tuskd/tuskd/workers/go"
)

func main() {
	ctx := context.Background()
	var booked []any // by one run at a time
	worker := tusk.NewWorker(tusk.WorkerOptions{Slots: 4})
	tusk.Handle(worker, "order-go", func(ctx context.Context, entry int) (any, error) {
		if task, _ := tusk.TaskFromContext(ctx); entry == 1 && task.Attempt == 1 {
			return nil, errors.New("the ledger is away")
		}
		booked = append(booked, entry)
		return nil, nil
	})
	go worker.Run(ctx)
	<-worker.Ready()

	client, err := tusk.NewClient(tusk.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	var entries []*tusk.Task
	for n := 1; n <= 4; n++ {
		entry, err := client.Submit(ctx, "order-go", n, tusk.WithOrderKey("account 7"),
			tusk.WithAttempts(2), tusk.WithBackoff(tusk.Backoff{First: 100 * time.Millisecond, Most: time.Second}))
		if err != nil {
			log.Fatal(err)
		}
		entries = append(entries, entry)
	}
	for _, entry := range entries {
		if _, err := tusk.Result[any](ctx, entry); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(booked...)
}
