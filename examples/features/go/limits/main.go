// Command limits shows that the config lets two tasks of a limit key run at a time, and that the keys do
// not hold each other up.
package main

import (
	"context"
	"fmt"
	"log"
	"sync"
	"time"

	tusk "github.com/tuskd/tuskd/workers/go"
)

func main() {
	ctx := context.Background()
	var mu sync.Mutex
	running := map[string]int{}
	now, most, mostOfAll := 0, 0, 0
	count := func(host string, more int) {
		mu.Lock()
		defer mu.Unlock()
		running[host] += more
		now += more
		most, mostOfAll = max(most, running[host]), max(mostOfAll, now)
	}
	worker := tusk.NewWorker(tusk.WorkerOptions{Slots: 6})
	tusk.Handle(worker, "limits-go", func(_ context.Context, host string) (any, error) {
		count(host, 1)
		time.Sleep(200 * time.Millisecond)
		count(host, -1)
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
	for _, host := range []string{"one.example", "two.example"} {
		for range 6 {
			task, err := client.Submit(ctx, "limits-go", host, tusk.WithLimitKey(host), tusk.WithTimeout(30*time.Second))
			if err != nil {
				log.Fatal(err)
			}
			tasks = append(tasks, task)
		}
	}
	for _, task := range tasks {
		if _, err := tusk.Result[any](ctx, task); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("at most at a time:", most)
	fmt.Println("both keys at once:", mostOfAll)
}
