// Command children shows a run that submits tasks and waits for them; its slot is lent out meanwhile.
package main

import (
	"context"
	"fmt"
	"log"
	"slices"

	tusk "github.com/tuskd/tuskd/workers/go"
)

func main() {
	ctx := context.Background()
	worker := tusk.NewWorker(tusk.WorkerOptions{Slots: 1})
	tusk.Handle(worker, "children-square-go", func(_ context.Context, n int) (int, error) { return n * n, nil })
	tusk.Handle(worker, "children-sum-go", func(ctx context.Context, numbers []int) (int, error) {
		squares, err := tusk.CallChildren[int](ctx, "children-square-go", slices.Values(numbers))
		sum := 0
		for _, square := range squares {
			sum += square
		}
		return sum, err
	})
	go worker.Run(ctx)
	<-worker.Ready()

	client, err := tusk.NewClient(tusk.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	for _, numbers := range [][]int{{1, 2, 3}, {4, 5, 6}} {
		sum, err := tusk.Call[int](ctx, client, "children-sum-go", numbers)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("sum of squares of %d, %d, %d: %d\n", numbers[0], numbers[1], numbers[2], sum)
	}
}
