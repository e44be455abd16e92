// Command worker is the Go worker of the conformance tests; ../../programs.py says what it serves.
package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"syscall"
	"time"

	tusk "github.com/tuskd/tuskd/workers/go"
)

type crashBody struct{ Signal, Attempts int }

type item struct {
	N    int
	Drop *string
	Path []string
}

func suffix() string {
	if given, ok := os.LookupEnv("TUSK_TEST_SUFFIX"); ok {
		return given
	}
	return "-go"
}

func main() {
	worker := tusk.NewWorker(tusk.WorkerOptions{})
	s := suffix()
	tusk.Handle(worker, "echo"+s, func(_ context.Context, body any) (any, error) { return body, nil })
	tusk.Handle(worker, "fail"+s, func(_ context.Context, message string) (any, error) {
		return nil, errors.New(message)
	})
	tusk.Handle(worker, "panic"+s, func(_ context.Context, message string) (any, error) { panic(message) })
	tusk.Handle(worker, "noretry"+s, func(_ context.Context, message string) (any, error) {
		return nil, tusk.NoRetry(errors.New(message))
	})
	tusk.Handle(worker, "crash"+s, crash)
	tusk.Handle(worker, "sleep"+s, func(ctx context.Context, ms int) (int, error) {
		select {
		case <-time.After(time.Duration(ms) * time.Millisecond):
			return ms, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	})
	if path := os.Getenv("TUSK_TEST_COUNTS"); path != "" {
		counts, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		if err != nil {
			log.Fatal(err)
		}
		tusk.Handle(worker, "count"+s, func(ctx context.Context, body map[string]any) (any, error) {
			task, _ := tusk.TaskFromContext(ctx)
			_, err := fmt.Fprintf(counts, "%s %d %v %s\n", hex.EncodeToString(task.ID[:]), task.Attempt, body["n"], task.Type)
			return body, err
		})
	}
	tusk.Handle(worker, "unserialisable"+s, func(context.Context, any) (any, error) {
		return make(chan int), nil
	})
	tusk.HandleStage(worker, "mark"+s, func(_ context.Context, in item) (item, error) {
		return mark(in, "mark"+s)
	})
	tusk.HandleStageBatch(worker, "batch"+s, tusk.Batch{Size: 8, Wait: 5 * time.Millisecond},
		func(_ context.Context, items []tusk.Item[item]) ([]tusk.Output[item], error) {
			out := make([]tusk.Output[item], len(items))
			for i := range items {
				out[i].Value, out[i].Err = mark(items[i].Value, "batch"+s)
			}
			return out, nil
		})
	if pause, err := strconv.Atoi(os.Getenv("TUSK_TEST_PRINT")); err == nil {
		go printLines(time.Duration(pause) * time.Millisecond)
	}
	if err := worker.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func crash(ctx context.Context, body crashBody) (crashBody, error) {
	if task, _ := tusk.TaskFromContext(ctx); task.Attempt <= body.Attempts {
		_ = syscall.Kill(os.Getpid(), syscall.Signal(body.Signal))
		time.Sleep(time.Minute)
	}
	return body, nil
}

func mark(in item, name string) (item, error) {
	if in.Drop != nil && *in.Drop == name {
		return in, tusk.Drop
	}
	in.Path = append(in.Path, name)
	return in, nil
}

func printLines(pause time.Duration) {
	for n := 1; ; n++ {
		fmt.Println("line", n)
		time.Sleep(pause)
	}
}
