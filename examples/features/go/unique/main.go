// Command unique shows that of the tasks with one key only one lives.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	tusk "github.com/tuskd/tuskd/workers/go"
)

func main() {
	ctx := context.Background()
	begun, gate := make(chan struct{}, 2), make(chan struct{})
	runs := 0
	worker := tusk.NewWorker(tusk.WorkerOptions{Slots: 1})
	tusk.Handle(worker, "unique-go", func(context.Context, any) (string, error) {
		runs++
		run := fmt.Sprint("run ", runs)
		begun <- struct{}{}
		<-gate
		return run, nil
	})
	go worker.Run(ctx)
	<-worker.Ready()

	client, err := tusk.NewClient(tusk.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	submit := func(policy tusk.UniquePolicy) *tusk.Task {
		task, err := client.Submit(ctx, "unique-go", nil, tusk.WithUnique("report 7"), tusk.WithUniquePolicy(policy))
		if err != nil {
			log.Fatal(err)
		}
		return task
	}
	first := submit(tusk.UniqueJoin)
	<-begun
	joined := submit(tusk.UniqueJoin)
	followUp := submit(tusk.UniqueFollowUp)
	_, err = tusk.Result[string](ctx, submit(tusk.UniqueRefuse))
	var duplicate *tusk.DuplicateError
	if errors.As(err, &duplicate) && duplicate.ID == first.ID() {
		fmt.Println("refused: duplicate")
	}
	close(gate)
	for _, task := range []struct {
		name string
		*tusk.Task
	}{{"first", first}, {"joined", joined}, {"follow-up", followUp}} {
		run, err := tusk.Result[string](ctx, task.Task)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(task.name+":", run)
	}
	if joined.JoinedID() != first.ID() {
		log.Fatal("it joined another task")
	}
}
