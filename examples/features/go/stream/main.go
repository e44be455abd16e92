// Command stream shows a handler that sends its results one by one, and a caller that takes them as they come.
package main

import (
	"context"
	"fmt"
	"log"

	tusk "github.com/tuskd/tuskd/workers/go"
)

func main() {
	ctx := context.Background()
	worker := tusk.NewWorker(tusk.WorkerOptions{Slots: 1})
	tusk.Handle(worker, "stream-go", func(ctx context.Context, chunks int) (string, error) {
		task, _ := tusk.TaskFromContext(ctx)
		for n := 1; n <= chunks; n++ {
			if err := task.Send(ctx, fmt.Sprint("chunk ", n)); err != nil {
				return "", err
			}
		}
		return fmt.Sprint(chunks, " chunks"), nil
	})
	go worker.Run(ctx)
	<-worker.Ready()

	client, err := tusk.NewClient(tusk.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	stream, err := tusk.Stream[string](ctx, client, "stream-go", 3)
	if err != nil {
		log.Fatal(err)
	}
	for chunk, err := range stream.All(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(chunk)
	}
	var result string
	if err := stream.Result(&result); err != nil {
		log.Fatal(err)
	}
	fmt.Println("result:", result)
}
