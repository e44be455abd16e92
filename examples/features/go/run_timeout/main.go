// Command run_timeout shows runs that may take only so long.
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
	worker := tusk.NewWorker(tusk.WorkerOptions{})
	tusk.Handle(worker, "run_timeout-go", func(ctx context.Context, _ any) (any, error) {
		<-ctx.Done() // for ever, but for being told to stop
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
	_, err = tusk.Call[any](ctx, client, "run_timeout-go", nil, tusk.WithRunTimeout(200*time.Millisecond),
		tusk.WithAttempts(2), tusk.WithBackoff(tusk.Backoff{First: 10 * time.Millisecond, Most: time.Second}))
	var ended *tusk.TaskError
	if !errors.As(err, &ended) || len(ended.History) != 2 {
		log.Fatal(err)
	}
	fmt.Printf("%s after %d runs: %s, %s\n", ended.State, ended.Attempt, ended.History[0].Type, ended.History[1].Type)
}
