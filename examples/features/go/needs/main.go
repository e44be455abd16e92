// Command needs shows tasks that run only where there is what they need, as long as it is free.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"time"

	tusk "github.com/tuskd/tuskd/workers/go"
)

func main() {
	ctx := context.Background()
	var mu sync.Mutex
	running, most := 0, 0
	count := func(change int) {
		mu.Lock()
		defer mu.Unlock()
		running += change
		most = max(most, running)
	}
	worker := tusk.NewWorker(tusk.WorkerOptions{Slots: 4, Labels: map[string]any{"gpu": 2, "region": "earth"}})
	tusk.Handle(worker, "needs-go", func(context.Context, any) (any, error) {
		count(1)
		defer count(-1)
		time.Sleep(50 * time.Millisecond)
		return nil, nil
	})
	go worker.Run(ctx)
	<-worker.Ready()

	client, err := tusk.NewClient(tusk.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	var tasks []*tusk.Task
	for range 4 {
		task, err := client.Submit(ctx, "needs-go", nil, tusk.WithConsumes(map[string]int{"gpu": 1}))
		if err != nil {
			log.Fatal(err)
		}
		tasks = append(tasks, task)
	}
	if _, err := tusk.Results[any](ctx, tasks...); err != nil {
		log.Fatal(err)
	}
	fmt.Println("at most at a time:", most)
	// A broker that was just started waits for a worker that may still come.
	_, err = tusk.Call[any](ctx, client, "needs-go", nil,
		tusk.WithRequires(map[string]any{"region": "mars"}), tusk.WithTimeout(time.Minute))
	var refused *tusk.Error
	if errors.As(err, &refused) {
		fmt.Println("region mars:", refused.Code)
	}
}
