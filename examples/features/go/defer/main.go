// Command defer shows a handler that cannot run now, which is no failure.
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
	worker := tusk.NewWorker(tusk.WorkerOptions{})
	tusk.Handle(worker, "defer-go", func(ctx context.Context, _ any) (int, error) {
		task, _ := tusk.TaskFromContext(ctx)
		if task.Attempt < 3 { // say, a lock that somebody holds
			return 0, tusk.Defer(50 * time.Millisecond)
		}
		return task.Attempt, nil
	})
	go worker.Run(ctx)
	<-worker.Ready()

	client, err := tusk.NewClient(tusk.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	attempt, err := tusk.Call[int](ctx, client, "defer-go", nil, tusk.WithAttempts(1))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ran as attempt", attempt)
}
