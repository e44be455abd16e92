// Command delay shows tasks that wait for a while, or for a point in time.
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
	worker := tusk.NewWorker(tusk.WorkerOptions{Slots: 2})
	tusk.Handle(worker, "delay-go", func(_ context.Context, earliest time.Time) (string, error) {
		if time.Now().Before(earliest) {
			return "too early", nil
		}
		return "in time", nil
	})
	go worker.Run(ctx)
	<-worker.Ready()

	client, err := tusk.NewClient(tusk.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	at := time.Now().Add(300 * time.Millisecond)
	came, err := tusk.Call[string](ctx, client, "delay-go", at, tusk.WithDelay(300*time.Millisecond))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("delay:", came)
	at = time.Now().Add(300 * time.Millisecond)
	came, err = tusk.Call[string](ctx, client, "delay-go", at, tusk.WithNotBefore(at))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("not_before:", came)
}
