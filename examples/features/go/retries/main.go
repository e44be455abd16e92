// Command retries shows runs that fail, and when there is another one.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	tusk "github.com/tuskd/tuskd/workers/go"
)

func main() {
	ctx := context.Background()
	worker := tusk.NewWorker(tusk.WorkerOptions{})
	tusk.Handle(worker, "retries-go", func(ctx context.Context, fails string) (int, error) {
		task, _ := tusk.TaskFromContext(ctx)
		switch {
		case fails == "always", fails == "twice" && task.Attempt <= 2:
			return 0, tusk.TypedError("Flaky", errors.New("not this time"))
		case fails == "for good":
			return 0, tusk.TypedError("BadInput", errors.New("never"))
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
	call := func(fails string, attempts int) (int, *tusk.TaskError) {
		attempt, err := tusk.Call[int](ctx, client, "retries-go", fails, tusk.WithAttempts(attempts),
			tusk.WithBackoff(tusk.Backoff{First: 20 * time.Millisecond, Most: time.Second, Factor: 3}),
			tusk.WithNoRetryOn("BadInput"))
		var ended *tusk.TaskError
		if err != nil && !errors.As(err, &ended) {
			log.Fatal(err)
		}
		return attempt, ended
	}
	attempt, _ := call("twice", 5)
	fmt.Println("flaky: attempt", attempt)
	_, hopeless := call("for good", 5)
	fmt.Println("hopeless:", hopeless.State, "with", hopeless.Type, "after attempt", hopeless.Attempt)
	_, doomed := call("always", 2)
	var runs []string
	for _, run := range doomed.History {
		runs = append(runs, fmt.Sprint("attempt ", run.Attempt, " ", run.Type))
	}
	fmt.Printf("doomed: %s, %s\n", doomed.State, strings.Join(runs, ", "))
}
