// Command batches shows a handler that takes several tasks at once.
package main

import (
	"context"
	"fmt"
	"log"
	"strings"
	"time"

	tusk "github.com/tuskd/tuskd/workers/go"
)

func main() {
	ctx := context.Background()
	var sizes []string
	worker := tusk.NewWorker(tusk.WorkerOptions{Slots: 3})
	tusk.HandleBatch(worker, "batches-go", tusk.Batch{Size: 3, Wait: 200 * time.Millisecond},
		func(_ context.Context, tasks []tusk.Item[int]) ([]tusk.Output[int], error) {
			sizes = append(sizes, fmt.Sprint(len(tasks)))
			squares := make([]tusk.Output[int], len(tasks))
			for i, task := range tasks {
				squares[i].Value = task.Value * task.Value
			}
			return squares, nil
		})
	go worker.Run(ctx)
	<-worker.Ready()

	client, err := tusk.NewClient(tusk.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	var tasks []*tusk.Task
	for n := 1; n <= 7; n++ {
		task, err := client.Submit(ctx, "batches-go", n)
		if err != nil {
			log.Fatal(err)
		}
		tasks = append(tasks, task)
	}
	squares, err := tusk.Results[int](ctx, tasks...)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("sizes of the batches:", strings.Join(sizes, " "))
	fmt.Println("results:", strings.Trim(fmt.Sprint(squares), "[]"))
}
