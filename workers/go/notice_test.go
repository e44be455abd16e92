package tusk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

func TestWhatARunSaysComesInOrderAndBeforeItsResult(t *testing.T) {
	b := newBroker(t)
	over := make(chan TaskInfo, 1)
	startWorker(t, b, WorkerOptions{Slots: 4}, func(w *Worker) {
		Handle(w, "f", func(ctx context.Context, _ any) (int, error) {
			task, _ := TaskFromContext(ctx)
			task.Heartbeat()
			for _, err := range []error{task.Progress(map[string]any{"n": 1}), task.Log(LogInfo, "half\xff way"),
				task.Progress(nil), task.Log(LogError, strings.Repeat("ä", wire.MaxLog)),
				task.Checkpoint([]int{1, 2}), task.PauseType(1500 * time.Microsecond)} {
				if err != nil {
					return 0, err
				}
			}
			over <- task
			return 7, nil
		})
	})
	l := b.accept(5, nil)
	l.task(1, "f", nil)
	if r := l.expect(wire.Progress); r.Ref != 1 || r.Body != nil {
		t.Fatal(describe(r))
	}
	if r := l.expect(wire.Progress); !bytes.Equal(r.Body, pack(t, map[string]any{"n": 1})) {
		t.Fatal(describe(r))
	}
	if r := l.expect(wire.Log); r.State != 2 || string(r.Text) != "half\ufffd way" {
		t.Fatal(describe(r))
	}
	if r := l.expect(wire.Progress); !bytes.Equal(r.Body, pack(t, nil)) {
		t.Fatal(describe(r))
	}
	if r := l.expect(wire.Log); r.State != 4 || len(r.Text) > wire.MaxLog || len(r.Text) < wire.MaxLog-2 ||
		!strings.HasSuffix(string(r.Text), "ä ... [cut]") {
		t.Fatal(describe(r))
	}
	if r := l.expect(wire.Checkpoint); !bytes.Equal(r.Body, pack(t, []int{1, 2})) {
		t.Fatal(describe(r))
	}
	if r := l.expect(wire.Pause); r.Time != 2 {
		t.Fatal(describe(r))
	}
	l.expect(wire.Result)
	// The run is over, and says nothing any more.
	task := wait(t, over)
	task.Heartbeat()
	task.ClearCheckpoint()
	for _, err := range []error{task.Progress(1), task.Log(LogInfo, "x"), task.Checkpoint(1), task.PauseType(0)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var none TaskInfo
	none.Heartbeat()
	if left, bounded := none.TimeLeft(); none.Progress(1) != nil || none.CancelReason() != "" || bounded || left != 0 {
		t.Fatal("a run that is none")
	}
	l.send([]any{wire.Ping, 1})
	l.expect(wire.Pong)
}

func TestWhatARunMayNotSayIsAnErrorThere(t *testing.T) {
	b := newBroker(t)
	startWorker(t, b, WorkerOptions{}, func(w *Worker) {
		Handle(w, "f", func(ctx context.Context, _ any) ([]string, error) {
			task, _ := TaskFromContext(ctx)
			var texts []string
			for _, err := range []error{task.Progress(make(chan int)), task.Log(0, "x"), task.Log(5, "x"),
				task.Checkpoint(make(chan int)), task.Checkpoint(make([]byte, 1000)), task.PauseType(-1),
				task.PauseType(longest + 1), Defer(-time.Second)} {
				texts = append(texts, fmt.Sprint(err))
			}
			return texts, nil
		})
	})
	l := b.accept(5, map[string]any{"limits": map[string]any{"checkpoint": 1000}})
	l.task(1, "f", nil)
	r := l.expect(wire.Result)
	var texts []string
	if err := received(&r).read(&texts, 1<<20); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"chan int", "level 0 does not exist", "level 5", "the checkpoint cannot be written",
		"the checkpoint has 1003 bytes, the limit `checkpoint` is 1000", "the pause is -1ns, and has to be from 0s to 100 years",
		"100 years", "after is -1s, and has to be from 0s to 100 years"} {
		if !strings.Contains(texts[i], want) {
			t.Errorf("%q, and not %q", texts[i], want)
		}
	}
}

func TestARunThatIsDeferredAnswersWithThat(t *testing.T) {
	b := newBroker(t)
	startWorker(t, b, WorkerOptions{Slots: 4}, func(w *Worker) {
		Handle(w, "f", func(_ context.Context, ms int) (int, error) {
			return 0, fmt.Errorf("locked: %w", Defer(time.Duration(ms)*time.Millisecond))
		})
		HandleStageBatch(w, "list", Batch{Size: 3}, func(_ context.Context, items []Item[string]) ([]Output[int], error) {
			if items[0].Value == "all" {
				return nil, Defer(time.Second)
			}
			return []Output[int]{{Value: 1}, {Err: Defer(2 * time.Second)}, {Err: errors.New("no")}}, nil
		})
	})
	l := b.accept(5, nil)
	l.task(1, "f", 1500)
	if r := l.expect(wire.Defer); r.Ref != 1 || r.Time != 1500 {
		t.Fatal(describe(r))
	}
	l.task(2, "f", 0)
	if r := l.expect(wire.Defer); r.Ref != 2 || r.Time != 0 {
		t.Fatal(describe(r))
	}
	send := func(values ...string) {
		var records [][]any
		for i, v := range values {
			id := NewTaskID()
			records = append(records, []any{wire.Item, i + 1, id[:], "list", 1, pack(t, v)})
		}
		l.send(records...)
	}
	send("all", "b", "c")
	for range 3 {
		if r := l.expect(wire.Defer); r.Time != 1000 {
			t.Fatal(describe(r))
		}
	}
	send("a", "b", "c")
	for range 3 {
		r := l.next()
		if want := map[int64]wire.Kind{1: wire.Result, 2: wire.Defer, 3: wire.Result}[r.Ref]; r.Kind != want {
			t.Fatal(describe(r))
		}
	}
	l.task(3, "f", 1)
	l.mute = true
	l.expect(wire.Defer)
	// It was not acknowledged: another session gets it again, under the new handle.
	b.close()
	b.open()
	again := b.hello()
	claims := again.fields["claims"].([]any)
	again.welcome(6, false, 0, map[string]any{"claims": []any{[]any{claims[0].([]any)[0], 70}}})
	if r := again.expect(wire.Defer); r.Ref != 70 || r.Time != 1 {
		t.Fatal(describe(r))
	}
}

func TestARunKnowsItsTimeItsCheckpointAndWhyItIsToStop(t *testing.T) {
	b := newBroker(t)
	told, running := make(chan string, 1), make(chan struct{}, 1)
	startWorker(t, b, WorkerOptions{Slots: 4}, func(w *Worker) {
		Handle(w, "f", func(ctx context.Context, _ any) (any, error) {
			task, _ := TaskFromContext(ctx)
			left, bounded := task.TimeLeft()
			var at int
			found, err := task.LastCheckpoint(&at)
			told <- fmt.Sprint(bounded, left > 50*time.Second && left <= time.Minute, found, at, err, task.CancelReason())
			running <- struct{}{}
			<-ctx.Done()
			told <- task.CancelReason()
			return nil, Defer(time.Second) // whatever it says, it was told to stop
		})
	})
	l := b.accept(5, nil)
	for i, c := range []struct {
		attributes attributes
		told       string
		cancel     attributes
		reason     string
	}{
		{attributes{24: 60_000, 33: pack(t, 42)}, "true true true 42 <nil>", attributes{26: "run_timeout"}, "run_timeout"},
		{attributes{8: "00-x"}, "false false false 0 <nil>", attributes{}, "cancelled"},
		{attributes{24: 0}, "true false false 0 <nil>", attributes{26: "deadline"}, "deadline"},
		{attributes{33: pack(t, "x")}, "false false true 0 tusk: body: ", attributes{26: "moved"}, "moved"},
	} {
		id := NewTaskID()
		l.send([]any{wire.Task, i, id[:], "f", 2, pack(t, nil), c.attributes})
		if got := wait(t, told); !strings.HasPrefix(got, c.told) {
			t.Errorf("%q, and not %q", got, c.told)
		}
		wait(t, running)
		l.send([]any{wire.Cancel, i, id[:], c.cancel})
		if got := wait(t, told); got != c.reason {
			t.Errorf("%q, and not %q", got, c.reason)
		}
		if r := l.expect(wire.Result); r.State != wire.Cancelled {
			t.Fatal(describe(r))
		}
	}
}

func TestWhatIsSaidWhileNoBrokerIsThereComesUnderTheNewHandle(t *testing.T) {
	b := newBroker(t)
	steps := make(chan func(TaskInfo) error)
	startWorker(t, b, WorkerOptions{Slots: 4}, func(w *Worker) {
		Handle(w, "f", func(ctx context.Context, _ any) (int, error) {
			task, _ := TaskFromContext(ctx)
			for step := range steps {
				if err := step(task); err != nil {
					return 0, err
				}
			}
			return 7, nil
		})
	})
	l := b.accept(5, nil)
	id := l.task(1, "f", nil)
	steps <- func(task TaskInfo) error { return task.Checkpoint("first") }
	l.expect(wire.Checkpoint)
	b.close()
	steps <- func(task TaskInfo) error { return nil } // the one before is done
	b.open()
	again := b.hello()
	again.welcome(6, false, 0, map[string]any{"epoch": 8, "claims": []any{[]any{id[:], 70}}})
	// The broker of the new session may not know it.
	if r := again.expect(wire.Checkpoint); r.Ref != 70 || !bytes.Equal(r.Body, pack(t, "first")) {
		t.Fatal(describe(r))
	}
	b.close()
	time.Sleep(20 * time.Millisecond)
	steps <- func(task TaskInfo) error { return task.Checkpoint("second") }
	steps <- func(task TaskInfo) error { return task.Progress(1) }
	steps <- func(task TaskInfo) error { return task.Checkpoint("third") }
	large := make([]byte, 1<<20)
	for range 2 * noticesMost / len(large) { // at most once, and not without end
		steps <- func(task TaskInfo) error { return task.Progress(large) }
	}
	close(steps)
	b.open()
	again = b.hello()
	again.welcome(7, false, 0, map[string]any{"epoch": 9, "claims": []any{[]any{id[:], 71}}})
	if r := again.expect(wire.Checkpoint); r.Ref != 71 || !bytes.Equal(r.Body, pack(t, "third")) {
		t.Fatal(describe(r))
	}
	progress := 0
	r := again.next()
	for ; r.Kind == wire.Progress; r = again.next() {
		progress++
	}
	if r.Kind != wire.Result || r.Ref != 71 || r.State != wire.Succeeded || progress < 2 || progress > 1+noticesMost/len(large) {
		t.Fatal(progress, describe(r))
	}
}
