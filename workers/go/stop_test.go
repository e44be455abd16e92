package tusk

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

func TestStoppingGivesBackEndsAndSaysGoodbye(t *testing.T) {
	for name, stop := range map[string]func(l *link, w *Worker){
		"drain":  func(l *link, _ *Worker) { l.send([]any{wire.Drain, "reload"}) },
		"signal": func(*link, *Worker) { syscall.Kill(os.Getpid(), syscall.SIGTERM) },
		"Stop":   func(_ *link, w *Worker) { w.Stop() },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t)
			running, finish := make(chan int, 10), make(chan struct{})
			w, ended := startWorker(t, b, WorkerOptions{}, func(w *Worker) {
				Handle(w, "f", func(_ context.Context, in int) (int, error) {
					running <- in
					<-finish
					return in, nil
				})
			})
			l := b.accept(5, nil)
			l.task(1, "f", 1)
			wait(t, running)
			l.task(2, "f", 2)
			l.send([]any{wire.Ping, 1})
			l.expect(wire.Pong)
			stop(l, w)
			if r := l.expect(wire.Returned); r.Ref != 0 || !slices.Equal(wire.Handles(r.Raw), []int64{2}) {
				t.Fatal(describe(r))
			}
			l.task(3, "f", 3)
			if r := l.expect(wire.Returned); !slices.Equal(wire.Handles(r.Raw), []int64{3}) {
				t.Fatal(describe(r))
			}
			close(finish)
			if r := l.expect(wire.Result); r.Ref != 1 || r.State != 1 {
				t.Fatal(describe(r))
			}
			l.send([]any{wire.Kind(200)}) // acknowledges the result
			l.expect(wire.Bye)
			if err := wait(t, ended); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestAHandlerThatDoesNotEndIsLeftBehind(t *testing.T) {
	b := newBroker(t)
	cancelled := make(chan struct{})
	running := make(chan bool, 1)
	w, ended := startWorker(t, b, WorkerOptions{StopWithin: 10 * time.Millisecond}, func(w *Worker) {
		Handle(w, "f", func(ctx context.Context, _ any) (any, error) {
			running <- true
			<-ctx.Done()
			close(cancelled)
			return nil, nil
		})
	})
	l := b.accept(5, nil)
	l.task(1, "f", nil)
	wait(t, running)
	w.Stop()
	l.expect(wire.Bye)
	if err := wait(t, ended); err != nil {
		t.Fatal(err)
	}
	wait(t, cancelled)
}

// A result that nobody acknowledged would make another worker run the task again.
func TestASlowBrokerIsGivenTimeToAcknowledgeTheLastResults(t *testing.T) {
	b := newBroker(t)
	_, ended := startWorker(t, b, WorkerOptions{StopWithin: within}, func(w *Worker) {
		Handle(w, "add", add)
	})
	l := b.accept(5, nil)
	l.mute = true
	l.task(1, "add", map[string]int{"a": 1, "b": 2})
	l.expect(wire.Result)
	l.send([]any{wire.Drain, "reload"})
	l.silent(3 * closeWithin / 2)
	l.mute = false
	l.send([]any{wire.Kind(200)})
	l.expect(wire.Bye)
	if err := wait(t, ended); err != nil {
		t.Fatal(err)
	}
}

func TestABrokerThatIsNotThereIsNotWaitedForLong(t *testing.T) {
	b := newBroker(t)
	w, ended := startWorker(t, b, WorkerOptions{StopWithin: 2 * within}, func(w *Worker) {
		Handle(w, "add", add)
	})
	l := b.accept(5, nil)
	l.mute = true
	l.task(1, "add", map[string]int{"a": 1, "b": 2})
	l.expect(wire.Result)
	b.close()
	w.Stop()
	if err := wait(t, ended); err != nil {
		t.Fatal(err)
	}
}

func TestASupervisedWorkerEndsWhenTheBrokerStaysAway(t *testing.T) {
	t.Setenv("TUSK_SUPERVISED", "1")
	b := newBroker(t)
	_, ended := startWorker(t, b, WorkerOptions{}, func(w *Worker) {
		Handle(w, "f", func(context.Context, any) (any, error) { return nil, nil })
	})
	l := b.accept(5, map[string]any{"adopt_grace": 50})
	l.task(1, "f", nil)
	l.expect(wire.Result)
	b.close()
	if err := wait(t, ended); err != nil {
		t.Fatal(err)
	}
}

func TestARefusedWorkerSaysWhy(t *testing.T) {
	b := newBroker(t)
	_, ended := startWorker(t, b, WorkerOptions{}, func(w *Worker) {
		Handle(w, "f", func(context.Context, any) (any, error) { return nil, nil })
	})
	b.hello().bare([]any{wire.Error, 0, "refused", "go may not run f"})
	if err := wait(t, ended); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "go may not run f") {
		t.Fatal(err)
	}
}
