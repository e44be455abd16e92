// Command progress shows what a run tells its caller while it runs.
package main

import (
	"context"
	"fmt"
	"log"

	tusk "github.com/tuskd/tuskd/workers/go"
)

func main() {
	ctx := context.Background()
	worker := tusk.NewWorker(tusk.WorkerOptions{})
	tusk.Handle(worker, "progress-go", func(ctx context.Context, steps int) (int, error) {
		task, _ := tusk.TaskFromContext(ctx)
		for n := 1; n <= steps; n++ {
			if err := task.Progress(n); err != nil { // any value
				return 0, err
			}
			if n == 2 {
				task.Log(tusk.LogInfo, "half way")
			}
		}
		return steps, nil
	})
	go worker.Run(ctx)
	<-worker.Ready()

	client, err := tusk.NewClient(tusk.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	result, err := tusk.Call[int](ctx, client, "progress-go", 3,
		tusk.OnProgress(func(p tusk.Progress) {
			n, _ := p.Value()
			fmt.Println("progress", n)
		}),
		tusk.OnLog(func(line tusk.LogLine) { fmt.Printf("%v: %s\n", line.Level, line.Text) }))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("result", result)
}
