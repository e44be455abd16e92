// Command deadline shows tasks that are of no use any more after some time.
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
	worker := tusk.NewWorker(tusk.WorkerOptions{Slots: 1})
	tusk.Handle(worker, "deadline-go", func(ctx context.Context, ms int) (int, error) {
		select {
		case <-time.After(time.Duration(ms) * time.Millisecond):
			return ms, nil
		case <-ctx.Done():
			task, _ := tusk.TaskFromContext(ctx)
			fmt.Println("told to stop:", task.CancelReason())
			return 0, ctx.Err()
		}
	})
	go worker.Run(ctx)
	<-worker.Ready()

	client, err := tusk.NewClient(tusk.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	busy, err := client.Submit(ctx, "deadline-go", 600)
	if err != nil {
		log.Fatal(err)
	}
	_, err = tusk.Call[int](ctx, client, "deadline-go", 0, tusk.WithDeadline(200*time.Millisecond))
	fmt.Println("waiting:", state(err))
	<-busy.Done()
	_, err = tusk.Call[int](ctx, client, "deadline-go", 60_000, tusk.WithDeadline(200*time.Millisecond))
	fmt.Println("running:", state(err))
}

func state(err error) string {
	var ended *tusk.TaskError // errors.Is(err, tusk.ErrExpired) asks for this one
	if errors.As(err, &ended) {
		return ended.State
	}
	return fmt.Sprint(err)
}
