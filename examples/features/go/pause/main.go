// Command pause shows a handler that knows that no task of its type can run for a while.
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
	const pause = 400 * time.Millisecond
	worker := tusk.NewWorker(tusk.WorkerOptions{Slots: 2})
	tusk.Handle(worker, "pause-go", func(ctx context.Context, limited bool) (any, error) {
		task, _ := tusk.TaskFromContext(ctx)
		if limited { // say, by a service that wants no more requests now
			return nil, task.PauseType(pause)
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
	began := time.Now()
	for _, limited := range []bool{true, false} {
		if _, err := tusk.Call[any](ctx, client, "pause-go", limited); err != nil {
			log.Fatal(err)
		}
	}
	paused := "no"
	if time.Since(began) >= pause {
		paused = "yes"
	}
	fmt.Println("paused:", paused)
}
