// Command go is the Go worker of the echo benchmark.
package main

import (
	"context"
	"log"

	tusk "github.com/tuskd/tuskd/workers/go"
)

func main() {
	worker := tusk.NewWorker(tusk.WorkerOptions{Slots: 1000})
	tusk.Handle(worker, "noop-go", func(context.Context, any) (any, error) { return nil, nil })
	if err := worker.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}
