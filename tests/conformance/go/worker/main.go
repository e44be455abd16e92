// Command worker is the Go worker of the conformance tests; ../../programs.py says what it serves.
package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	tusk "github.com/tuskd/tuskd/workers/go"
)

type flakyBody struct {
	Fails int
	Type  *string
}

type deferringBody struct{ Times, After int }

type progressingBody struct{ Steps, Pause int }

type checkpointedBody struct {
	Fails int
	Value any
	Hang  int
}

type beatingBody struct{ Beats, Every, Silent int }

type crashBody struct{ Signal, Attempts int }

type item struct {
	N    int
	Drop *string
	Path []string
}

type streamingBody struct{ Chunks, Fails, Pause int }

type parentingBody struct {
	Type   string
	Bodies []any
}

type nestingBody struct {
	Depth int    `msgpack:"depth"`
	Width int    `msgpack:"width"`
	Type  string `msgpack:"type"`
}

// mostOfABatch is the size of the stage's lists; a worker of fewer slots has shorter ones.
const mostOfABatch = 8

func suffix() string {
	if given, ok := os.LookupEnv("TUSK_TEST_SUFFIX"); ok {
		return given
	}
	return "-go"
}

func main() {
	worker := tusk.NewWorker(tusk.WorkerOptions{})
	s := suffix()
	slots, err := strconv.Atoi(os.Getenv("TUSK_SLOTS"))
	if err != nil {
		slots = 1
	}
	tusk.Handle(worker, "echo"+s, func(_ context.Context, body any) (any, error) { return body, nil })
	tusk.Handle(worker, "fail"+s, func(_ context.Context, message string) (any, error) {
		return nil, errors.New(message)
	})
	tusk.Handle(worker, "panic"+s, func(_ context.Context, message string) (any, error) { panic(message) })
	tusk.Handle(worker, "noretry"+s, func(_ context.Context, message string) (any, error) {
		return nil, tusk.NoRetry(errors.New(message))
	})
	tusk.Handle(worker, "crash"+s, crash)
	tusk.Handle(worker, "sleep"+s, func(ctx context.Context, ms int) (int, error) { return ms, sleep(ctx, ms) })
	handleRuns(worker, s)
	handleStreams(worker, s)
	handleFamilies(worker, s)
	tusk.HandleBatch(worker, "batching"+s, tusk.Batch{Size: min(3, slots), Wait: 200 * time.Millisecond},
		func(_ context.Context, tasks []tusk.Item[any]) ([]tusk.Output[[]any], error) {
			out := make([]tusk.Output[[]any], len(tasks))
			for i, task := range tasks {
				out[i].Value = []any{task.Value, len(tasks)}
			}
			return out, nil
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
		tusk.Handle(worker, "stopping"+s, func(ctx context.Context, _ any) (any, error) {
			task, _ := tusk.TaskFromContext(ctx)
			<-ctx.Done()
			_, err := fmt.Fprintf(counts, "%s %d %s %s\n", hex.EncodeToString(task.ID[:]), task.Attempt, task.CancelReason(), task.Type)
			return nil, errors.Join(ctx.Err(), err)
		})
	}
	tusk.Handle(worker, "unserialisable"+s, func(context.Context, any) (any, error) {
		return make(chan int), nil
	})
	tusk.HandleStage(worker, "mark"+s, func(_ context.Context, in item) (item, error) {
		return mark(in, "mark"+s)
	})
	tusk.HandleStageBatch(worker, "batch"+s, tusk.Batch{Size: min(mostOfABatch, slots), Wait: 5 * time.Millisecond},
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

// sleep sleeps so many ms, or until the run is told to stop.
func sleep(ctx context.Context, ms int) error {
	select {
	case <-time.After(time.Duration(ms) * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// handleRuns serves what is about the runs of a task: those that fail, wait, tell.
func handleRuns(worker *tusk.Worker, s string) {
	tusk.Handle(worker, "flaky"+s, func(ctx context.Context, body flakyBody) (int, error) {
		task, _ := tusk.TaskFromContext(ctx)
		if task.Attempt > body.Fails {
			return task.Attempt, nil
		}
		name := "Flaky"
		if body.Type != nil {
			name = *body.Type
		}
		return 0, tusk.TypedError(name, fmt.Errorf("attempt %d fails", task.Attempt))
	})
	tusk.Handle(worker, "deferring"+s, func(ctx context.Context, body deferringBody) (int, error) {
		task, _ := tusk.TaskFromContext(ctx)
		if task.Attempt > body.Times {
			return task.Attempt, nil
		}
		return 0, tusk.Defer(time.Duration(body.After) * time.Millisecond)
	})
	tusk.Handle(worker, "pausing"+s, func(ctx context.Context, body struct{ Pause int }) (any, error) {
		task, _ := tusk.TaskFromContext(ctx)
		return nil, task.PauseType(time.Duration(body.Pause) * time.Millisecond)
	})
	tusk.Handle(worker, "progressing"+s, func(ctx context.Context, body progressingBody) (int, error) {
		task, _ := tusk.TaskFromContext(ctx)
		for n := 1; n <= body.Steps; n++ {
			if err := errors.Join(task.Progress(n), task.Log(tusk.LogInfo, fmt.Sprint("step ", n)), sleep(ctx, body.Pause)); err != nil {
				return 0, err
			}
		}
		return body.Steps, nil
	})
	tusk.Handle(worker, "checkpointed"+s, func(ctx context.Context, body checkpointedBody) (any, error) {
		task, _ := tusk.TaskFromContext(ctx)
		if task.Attempt <= body.Fails {
			err := task.Checkpoint(body.Value)
			time.Sleep(time.Duration(body.Hang) * time.Millisecond)
			return nil, errors.Join(err, errors.New("again from there"))
		}
		var last any
		_, err := task.LastCheckpoint(&last)
		return []any{task.Attempt, last}, err
	})
	tusk.Handle(worker, "beating"+s, func(ctx context.Context, body beatingBody) (int, error) {
		task, _ := tusk.TaskFromContext(ctx)
		for range body.Beats {
			task.Heartbeat()
			if err := sleep(ctx, body.Every); err != nil {
				return 0, err
			}
		}
		return body.Beats, sleep(ctx, body.Silent)
	})
	tusk.Handle(worker, "time_left"+s, func(ctx context.Context, _ any) (*int64, error) {
		task, _ := tusk.TaskFromContext(ctx)
		left, bounded := task.TimeLeft()
		if !bounded {
			return nil, nil
		}
		ms := left.Milliseconds()
		return &ms, nil
	})
	tusk.Handle(worker, "costing"+s, func(ctx context.Context, body struct{ Cost int }) (int, error) {
		task, _ := tusk.TaskFromContext(ctx)
		return body.Cost, task.SetCost(body.Cost)
	})
	tusk.Handle(worker, "stubborn"+s, func(_ context.Context, ms int) (int, error) {
		time.Sleep(time.Duration(ms) * time.Millisecond)
		return ms, nil
	})
}

// handleStreams serves what sends chunks, and what tells of the worker and the task.
func handleStreams(worker *tusk.Worker, s string) {
	tusk.Handle(worker, "streaming"+s, func(ctx context.Context, body streamingBody) (int, error) {
		task, _ := tusk.TaskFromContext(ctx)
		fails := task.Attempt <= body.Fails
		chunks := body.Chunks
		if fails {
			chunks /= 2
		}
		for n := 1; n <= chunks; n++ {
			if err := errors.Join(task.Send(ctx, n), sleep(ctx, body.Pause)); err != nil {
				return 0, err
			}
		}
		if fails {
			return 0, fmt.Errorf("attempt %d fails", task.Attempt)
		}
		return body.Chunks, nil
	})
	tusk.Handle(worker, "labelled"+s, func(ctx context.Context, _ any) (map[string]string, error) {
		task, _ := tusk.TaskFromContext(ctx)
		labels := task.Labels()
		if labels == nil {
			labels = map[string]string{}
		}
		return labels, nil
	})
	tusk.Handle(worker, "whereami"+s, func(context.Context, any) (string, error) { return os.Getenv("TUSK_WORKER"), nil })
}

// handleFamilies serves what has children.
func handleFamilies(worker *tusk.Worker, s string) {
	tusk.Handle(worker, "parenting"+s, func(ctx context.Context, body parentingBody) ([]any, error) {
		return tusk.CallChildren[any](ctx, body.Type, slices.Values(body.Bodies))
	})
	tusk.Handle(worker, "nesting"+s, func(ctx context.Context, body nestingBody) (int, error) {
		if body.Depth == 0 {
			return 1, nil
		}
		body.Depth--
		counts, err := tusk.CallChildren[int](ctx, body.Type, slices.Values(slices.Repeat([]nestingBody{body}, body.Width)))
		sum := 1
		for _, count := range counts {
			sum += count
		}
		return sum, err
	})
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
