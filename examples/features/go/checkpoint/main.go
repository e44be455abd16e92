// Command checkpoint shows a run that goes on where the one before it failed.
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
	worker := tusk.NewWorker(tusk.WorkerOptions{})
	tusk.Handle(worker, "checkpoint-go", func(ctx context.Context, steps int) (int, error) {
		task, _ := tusk.TaskFromContext(ctx)
		var at int
		if _, err := task.LastCheckpoint(&at); err != nil {
			return 0, err
		}
		fmt.Println("attempt", task.Attempt, "begins at", at)
		for ; at < steps; at++ {
			if at == 2 && task.Attempt == 1 {
				return 0, errors.New("the power went out")
			}
			if err := task.Checkpoint(at + 1); err != nil {
				return 0, err
			}
		}
		return at, nil
	})
	go worker.Run(ctx)
	<-worker.Ready()

	client, err := tusk.NewClient(tusk.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	result, err := tusk.Call[int](ctx, client, "checkpoint-go", 4, tusk.WithAttempts(2),
		tusk.WithBackoff(tusk.Backoff{})) // at once
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("result", result)
}
