// Command heartbeat shows runs that have to give a sign of life.
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
	tusk.Handle(worker, "heartbeat-go", func(ctx context.Context, speaks bool) (string, error) {
		task, _ := tusk.TaskFromContext(ctx)
		if !speaks {
			<-ctx.Done()
			fmt.Println("told to stop:", task.CancelReason())
			return "", ctx.Err()
		}
		for range 12 {
			time.Sleep(50 * time.Millisecond)
			task.Heartbeat() // progress, logs and checkpoints are signs of life too
		}
		return "done", nil
	})
	go worker.Run(ctx)
	<-worker.Ready()

	client, err := tusk.NewClient(tusk.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	within := tusk.WithHeartbeatTimeout(300 * time.Millisecond)
	spoke, err := tusk.Call[string](ctx, client, "heartbeat-go", true, within)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("spoke:", spoke)
	_, err = tusk.Call[string](ctx, client, "heartbeat-go", false, within, tusk.WithAttempts(1))
	var ended *tusk.TaskError
	if !errors.As(err, &ended) {
		log.Fatal(err)
	}
	fmt.Println("silent:", ended.Type)
}
