// Command sticky shows that the tasks of one key go to one worker.
package main

import (
	"context"
	"fmt"
	"log"

	tusk "github.com/tuskd/tuskd/workers/go"
)

func main() {
	ctx := context.Background()
	for _, name := range []string{"first", "second"} {
		worker := tusk.NewWorker(tusk.WorkerOptions{Slots: 1, Name: name})
		tusk.Handle(worker, "sticky-go", func(context.Context, any) (string, error) { return name, nil })
		go worker.Run(ctx)
		<-worker.Ready()
	}

	client, err := tusk.NewClient(tusk.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	for _, key := range []string{"a", "b"} {
		var tasks []*tusk.Task
		for range 10 {
			task, err := client.Submit(ctx, "sticky-go", nil, tusk.WithStickyKey(key))
			if err != nil {
				log.Fatal(err)
			}
			tasks = append(tasks, task)
		}
		names, err := tusk.Results[string](ctx, tasks...)
		if err != nil {
			log.Fatal(err)
		}
		workers := map[string]bool{}
		for _, name := range names {
			workers[name] = true
		}
		fmt.Printf("workers that ran key %q: %d\n", key, len(workers))
	}
}
