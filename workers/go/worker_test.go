package tusk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tuskd/tuskd/workers/go/internal/value"
	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// startWorker runs a worker until the test ends; Run's error comes from the channel.
func startWorker(t *testing.T, b *broker, options WorkerOptions, register func(w *Worker)) (*Worker, <-chan error) {
	t.Helper()
	options.URL = b.url
	w := NewWorker(options)
	register(w)
	ended := make(chan error, 1)
	stop, cancel := context.WithCancel(ctx)
	go func() { ended <- w.Run(stop) }()
	t.Cleanup(func() {
		cancel()
		w.ask("the test ends")
		w.ask("the test ends at once")
	})
	return w, ended
}

func (l *link) task(handle int64, taskType string, in any) TaskID {
	l.b.t.Helper()
	id := NewTaskID()
	l.send([]any{wire.Task, handle, id[:], taskType, 1, pack(l.b.t, in)})
	return id
}

// errorOf reads the error map of a failed result.
func errorOf(t *testing.T, r wire.Record) failure {
	t.Helper()
	var f failure
	if r.State != wire.Failed || r.Attrs == nil {
		t.Fatal("not failed:", describe(r))
	}
	if err := value.Decode(r.Attrs.Error, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestAWorkerSaysWhoItIsAndRunsTasks(t *testing.T) {
	b := newBroker(t)
	w, _ := startWorker(t, b, WorkerOptions{Slots: 4, Pool: "gpu", Name: "w1"}, func(w *Worker) {
		Handle(w, "add", func(ctx context.Context, in struct{ A, B int }) (int, error) {
			info, ok := TaskFromContext(ctx)
			if !ok || info.Type != "add" || info.Attempt != 1 || info.Trace != "00-x" || info.Baggage != "k=v" {
				return 0, fmt.Errorf("info %+v", info)
			}
			return in.A + in.B, nil
		})
		HandleStage(w, "clean", func(_ context.Context, in string) (string, error) {
			if in == "drop" {
				return "", Drop
			}
			return in + "!", nil
		})
	})
	l := b.hello()
	select {
	case <-w.Ready():
		t.Fatal("ready before the broker has taken it")
	default:
	}
	l.welcome(5, false, 0, nil)
	wait(t, w.Ready())
	bootID, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if f := l.fields; f["role"] != "worker" || f["slots"] != int64(4) || f["pool"] != "gpu" || f["name"] != "w1" ||
		f["pid"] != int64(os.Getpid()) || f["boot_id"] != strings.TrimSpace(string(bootID)) || f["pid_ns"] == nil ||
		!slices.Equal(f["types"].([]any), []any{"add"}) || !slices.Equal(f["handlers"].([]any), []any{"clean"}) {
		t.Fatalf("hello %v", f)
	}
	if can := l.fields["capabilities"] != nil; can != (4 < runtime.GOMAXPROCS(0)) {
		t.Fatalf("capabilities %v with %d processors", l.fields["capabilities"], runtime.GOMAXPROCS(0))
	}
	id := NewTaskID()
	l.send([]any{wire.Task, 7, id[:], "add", 1, pack(t, map[string]any{"a": 1, "b": 2}), attributes{8: "00-x", 10: "k=v"}})
	if r := l.expect(wire.Result); r.Ref != 7 || r.State != 1 || !bytes.Equal(r.Body, pack(t, 3)) {
		t.Fatal(describe(r))
	}
	for in, want := range map[string][]byte{"x": pack(t, "x!"), "drop": nil} {
		l.send([]any{wire.Item, 8, id[:], "clean", 1, pack(t, in)})
		if r := l.expect(wire.Result); r.State != 1 || !bytes.Equal(r.Body, want) {
			t.Fatal(in, describe(r))
		}
	}
}

func TestWhatFailsInAHandlerIsAFailedResult(t *testing.T) {
	b := newBroker(t)
	startWorker(t, b, WorkerOptions{Slots: 4}, func(w *Worker) {
		Handle(w, "f", func(_ context.Context, in string) (any, error) {
			switch in {
			case "error":
				return nil, fmt.Errorf("read: %w", os.ErrNotExist)
			case "typed":
				return nil, fmt.Errorf("here: %w", NoRetry(TypedError("NotFound", os.ErrNotExist)))
			case "last":
				return nil, NoRetry(errors.New("never"))
			case "panic":
				panic("ouch")
			case "exit":
				runtime.Goexit()
			case "unwritable":
				return make(chan int), nil
			case "large":
				return make([]byte, 30_000), nil
			}
			return in, nil
		})
	})
	l := b.accept(5, map[string]any{"limits": map[string]any{"body": 20_000}})
	cases := []struct {
		in                 any
		typeIs, message    string
		stack, never, good bool
	}{
		{in: "error", typeIs: "*errors.errorString", message: "read: file does not exist"},
		{in: "typed", typeIs: "NotFound", message: "here: file does not exist", never: true},
		{in: "last", typeIs: "*errors.errorString", message: "never", never: true},
		{in: "panic", typeIs: "panic", message: "ouch", stack: true},
		{in: "exit", typeIs: "Goexit", message: "goroutine", stack: true},
		{in: "unwritable", typeIs: "*tusk.Error", message: "chan int", never: true},
		{in: "large", typeIs: "*tusk.Error", message: "20000", never: true},
		{in: 5, typeIs: "*tusk.Error", message: "integer does not fit a Go string", never: true},
		{in: "still serves", good: true},
	}
	for _, c := range cases {
		l.task(1, "f", c.in)
		r := l.expect(wire.Result)
		if c.good {
			if r.State != 1 {
				t.Fatal(describe(r))
			}
			continue
		}
		f := errorOf(t, r)
		if f.Type != c.typeIs || !strings.Contains(f.Message, c.message) || f.Language != "go" ||
			(f.Stack != "") != c.stack || r.Attrs.NoRetry != c.never {
			t.Fatalf("%v: %+v no retry %v", c.in, f, r.Attrs.NoRetry)
		}
		if c.stack && !strings.Contains(f.Stack, "worker_test.go") {
			t.Fatal(f.Stack)
		}
	}
	// Bytes that are no body, a bomb, a promise that this SDK does not know, a type that it does not.
	id := NewTaskID()
	bomb := []byte{0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73, 1, 0, 0, 0x80, 'x', 0, 0, 0, 0}
	for _, record := range [][]any{
		{wire.Task, 2, id[:], "f", 1, []byte{0xc1}},
		{wire.Task, 2, id[:], "f", 1, bomb, attributes{29: 1}},
		{wire.Task, 2, id[:], "f", 1, pack(t, "x"), attributes{27: 9}},
		{wire.Task, 2, id[:], "f", 1, pack(t, "x"), attributes{999: 1}},
		{wire.Task, 2, id[:], "g", 1, pack(t, "x")},
	} {
		l.send(record)
		if r := l.expect(wire.Result); !r.Attrs.NoRetry || errorOf(t, r).Message == "" {
			t.Fatal(describe(r))
		}
	}
	// A result that is refused has ended its run, and is not followed by another.
	l.send([]any{wire.Error, 2, "too_large", "over 10 bytes"}, []any{wire.Ping, 7})
	l.expect(wire.Pong)
	l.send([]any{wire.Task, 2, id[:], "f", 1, []byte(`"json"`), attributes{27: 1}})
	if r := l.expect(wire.Result); r.State != 1 || !bytes.Equal(r.Body, pack(t, "json")) {
		t.Fatal(describe(r))
	}
}

func TestTheIOAnswersWhileEverySlotIsBusyAndRunsAreCancelled(t *testing.T) {
	b := newBroker(t)
	running := make(chan TaskID, 10)
	startWorker(t, b, WorkerOptions{Slots: 2}, func(w *Worker) {
		Handle(w, "wait", func(ctx context.Context, _ any) (any, error) {
			info, _ := TaskFromContext(ctx)
			running <- info.ID
			inner, cancel := context.WithTimeout(ctx, within)
			defer cancel()
			<-inner.Done()
			return nil, ctx.Err()
		})
	})
	l := b.accept(5, nil)
	for handle := range int64(3) {
		l.task(handle, "wait", nil)
	}
	wait(t, running)
	wait(t, running)
	l.send([]any{wire.Ping, 5})
	l.expect(wire.Pong)
	l.send([]any{wire.Recall, 11, []int{0, 1, 2, 99}})
	if r := l.expect(wire.Returned); r.Ref != 11 || !slices.Equal(wire.Handles(r.Raw), []int64{2}) {
		t.Fatal(describe(r), wire.Handles(r.Raw))
	}
	l.send([]any{wire.Recall, 12, []int{}})
	if r := l.expect(wire.Returned); r.Ref != 12 || len(wire.Handles(r.Raw)) != 0 {
		t.Fatal(describe(r))
	}
	id := NewTaskID()
	l.task(3, "wait", nil) // waits for a slot, and is cancelled there
	for _, handle := range []int64{3, 0, 1} {
		l.send([]any{wire.Cancel, handle, id[:]})
		if r := l.expect(wire.Result); r.Ref != handle || r.State != wire.Cancelled {
			t.Fatal(describe(r))
		}
	}
}

func TestAtMostSlotsRunAtOnceAndQuickOnesShareGoroutines(t *testing.T) {
	b := newBroker(t)
	var now, most atomic.Int64
	var gate atomic.Pointer[chan struct{}]
	open := make(chan struct{})
	close(open)
	gate.Store(&open)
	startWorker(t, b, WorkerOptions{Slots: 8}, func(w *Worker) {
		Handle(w, "f", func(context.Context, any) (any, error) {
			n := now.Add(1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			<-*gate.Load()
			now.Add(-1)
			return nil, nil
		})
	})
	l := b.accept(5, nil)
	for range 200 { // long enough to prove quick
		l.task(1, "f", nil)
		l.expect(wire.Result)
	}
	shut := make(chan struct{})
	gate.Store(&shut)
	for handle := range int64(12) {
		l.task(handle, "f", nil)
	}
	// Quick until now, they block: each of the eight slots gets its run all the same.
	for end := time.Now().Add(within); now.Load() < 8; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(now.Load(), "of 8 slots run")
		}
	}
	close(shut)
	for range 12 {
		l.expect(wire.Result)
	}
	if most.Load() != 8 {
		t.Fatal(most.Load(), "ran at once with 8 slots")
	}
}

func TestARestartedBrokerGetsClaimsAndGivesNewHandles(t *testing.T) {
	b := newBroker(t)
	running, finish := make(chan string, 10), make(chan struct{})
	var stopped atomic.Int64
	startWorker(t, b, WorkerOptions{Slots: 8}, func(w *Worker) {
		Handle(w, "f", func(ctx context.Context, in string) (string, error) {
			running <- in
			if in == "answered" || in == "answered, dropped" {
				return in, nil
			}
			select {
			case <-ctx.Done():
				stopped.Add(1)
				return "", ctx.Err()
			case <-finish:
				return in, nil
			}
		})
	})
	l := b.accept(5, nil)
	l.mute = true
	ids := map[string]TaskID{}
	for i, name := range []string{"held", "dropped", "answered", "answered, dropped"} {
		ids[name] = l.task(int64(i+1), "f", name)
		wait(t, running)
	}
	l.expect(wire.Result)
	l.expect(wire.Result) // read, and never acknowledged
	b.close()
	b.open()
	again := b.hello()
	claims := again.fields["claims"].([]any)
	if len(claims) != 4 {
		t.Fatal(claims)
	}
	for _, c := range claims {
		if c := c.([]any); len(c) != 4 || c[1] != int64(1) || c[2] != "f" || c[3] != false {
			t.Fatal(c)
		}
	}
	id := func(name string) []byte { id := ids[name]; return id[:] }
	again.welcome(6, false, 0, map[string]any{"epoch": 8, "claims": []any{
		[]any{id("held"), 101}, []any{id("dropped"), nil}, []any{id("answered"), 103}, []any{id("answered, dropped"), nil}}})
	if r := again.expect(wire.Result); r.Ref != 103 || !bytes.Equal(r.Body, pack(t, "answered")) {
		t.Fatal(describe(r))
	}
	for end := time.Now().Add(within); stopped.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the dropped run goes on")
		}
	}
	close(finish)
	if r := again.expect(wire.Result); r.Ref != 101 || !bytes.Equal(r.Body, pack(t, "held")) {
		t.Fatal(describe(r))
	}
	again.send([]any{wire.Ping, 1})
	again.expect(wire.Pong) // and nothing of the dropped ones
}

func TestAResumedSessionKeepsHandlesAndRepeatsLostResults(t *testing.T) {
	b := newBroker(t)
	startWorker(t, b, WorkerOptions{}, func(w *Worker) {
		Handle(w, "f", func(_ context.Context, in int) (int, error) { return in, nil })
	})
	l := b.accept(5, nil)
	l.task(1, "f", 41)
	l.expect(wire.Result)
	b.close()
	b.open()
	again := b.hello()
	if again.fields["session"] != int64(5) || again.fields["ack"] != int64(1) {
		t.Fatalf("hello %v", again.fields)
	}
	again.out = 1
	again.welcome(5, true, 0, nil)
	if r := again.expect(wire.Result); r.Ref != 1 || !bytes.Equal(r.Body, pack(t, 41)) {
		t.Fatal(describe(r))
	}
}

func TestResultsInAPacketThatTheBrokerCouldNotReadFail(t *testing.T) {
	b := newBroker(t)
	startWorker(t, b, WorkerOptions{Slots: 4}, func(w *Worker) {
		Handle(w, "f", func(_ context.Context, in int) (int, error) { return in, nil })
	})
	l := b.accept(5, nil)
	refuse := func() { // as a broker does: the same packet acknowledges the one that it refuses
		details := map[string]any{"record": 1, "packet": l.in}
		l.send([]any{wire.Error, 0, "malformed", "no such byte", details})
	}
	l.task(1, "f", 41)
	l.expect(wire.Result)
	l.mute = true
	refuse()
	r := l.expect(wire.Result)
	if f := errorOf(t, r); r.Ref != 1 || !r.Attrs.NoRetry || f.Type != "*tusk.Error" || !strings.Contains(f.Message, "malformed") ||
		!strings.HasSuffix(f.Message, "refused the packet with the result: no such byte") {
		t.Fatal(describe(r), f)
	}
	l.mute = false
	l.task(2, "f", 42)
	if r := l.expect(wire.Result); r.Ref != 2 || r.State != wire.Succeeded {
		t.Fatal(describe(r))
	}
	refuse()
	if r := l.expect(wire.Result); r.Ref != 2 || errorOf(t, r).Type != "*tusk.Error" {
		t.Fatal(describe(r))
	}
	refuse() // such an answer is not answered again
	l.send([]any{wire.Ping, 7})
	l.expect(wire.Pong)
}

func TestBatchesComeBySizeOrTime(t *testing.T) {
	b := newBroker(t)
	sizes := make(chan int, 10)
	startWorker(t, b, WorkerOptions{Slots: 8}, func(w *Worker) {
		HandleStageBatch(w, "sum", Batch{Size: 3, Wait: 20 * time.Millisecond},
			func(_ context.Context, items []Item[int]) ([]Output[int], error) {
				sizes <- len(items)
				out := make([]Output[int], len(items))
				for i, item := range items {
					switch {
					case item.Value == 0:
						out[i].Err = Drop
					case item.Value < 0:
						out[i].Err = errors.New("negative")
					case item.Value == 99:
						panic("all of them")
					case item.Value == 98:
						return nil, nil
					default:
						out[i].Value = item.Value * 10
					}
				}
				return out, nil
			})
	})
	l := b.accept(5, nil)
	items := func(values ...any) (states []int64) {
		var records [][]any
		for i, v := range values {
			id := NewTaskID()
			records = append(records, []any{wire.Item, i + 1, id[:], "sum", 1, pack(t, v)})
		}
		l.send(records...)
		results := map[int64]wire.Record{}
		for range values {
			r := l.expect(wire.Result)
			results[r.Ref] = r
		}
		for i := range values {
			r := results[int64(i+1)]
			if r.State == 1 && values[i] != 0 && !bytes.Equal(r.Body, pack(t, values[i].(int)*10)) || values[i] == 0 && r.Body != nil {
				t.Fatal(values[i], describe(r))
			}
			states = append(states, r.State)
		}
		return states
	}
	check := func(size int, want []int64, values ...any) {
		t.Helper()
		if got := items(values...); !slices.Equal(got, want) {
			t.Fatal(got, want)
		}
		if got := wait(t, sizes); got != size {
			t.Fatal("a batch of", got)
		}
	}
	check(3, []int64{1, 1, 2}, 1, 0, -1)
	check(2, []int64{1, 1}, 4, 5) // by time
	check(2, []int64{1, 2, 1}, 4, "text", 5)
	check(3, []int64{2, 2, 2}, 1, 99, 2)
	check(1, []int64{2}, 98)
}

func TestTasksComeInBatchesToo(t *testing.T) {
	b := newBroker(t)
	startWorker(t, b, WorkerOptions{Slots: 3}, func(w *Worker) {
		HandleBatch(w, "square", Batch{Size: 3, Wait: time.Minute}, func(_ context.Context, tasks []Item[int]) ([]Output[int], error) {
			out := make([]Output[int], len(tasks))
			for i, task := range tasks {
				if out[i].Value = task.Value * task.Value; task.Value == 0 {
					out[i].Err = Drop // which a task is not
				}
			}
			return out, nil
		})
	})
	l := b.accept(5, nil)
	if types := l.fields["types"]; !slices.Equal(types.([]any), []any{"square"}) {
		t.Fatal(types)
	}
	for handle, in := range []int{3, 0, 4} {
		l.task(int64(handle+1), "square", in)
	}
	for range 3 {
		r := l.expect(wire.Result)
		if r.Ref == 2 && r.State == wire.Failed {
			continue
		}
		if want := map[int64]int{1: 9, 3: 16}[r.Ref]; r.State != wire.Succeeded || !bytes.Equal(r.Body, pack(t, want)) {
			t.Fatal(describe(r))
		}
	}
}

func TestABatchThatCouldNeverBeFullIsAMistakeOfTheProgram(t *testing.T) {
	for says, batch := range map[string]Batch{
		"the batch of \"f\" has size 0, and has to have at least 1":     {},
		"the batch of \"f\" has size -1":                                {Size: -1},
		"the batch of \"f\" waits for -1ns, and has to wait for 0":      {Size: 1, Wait: -1},
		"the batch of \"f\" has size 5, more than the worker's 4 slots": {Size: 5},
	} {
		for kind, register := range map[string]func(w *Worker){
			"tasks": func(w *Worker) {
				HandleBatch(w, "f", batch, func(context.Context, []Item[int]) ([]Output[int], error) { return nil, nil })
			},
			"items": func(w *Worker) {
				HandleStageBatch(w, "f", batch, func(context.Context, []Item[int]) ([]Output[int], error) { return nil, nil })
			},
		} {
			func() {
				defer func() {
					if cause := fmt.Sprint(recover()); !strings.Contains(cause, says) {
						t.Errorf("%s: %s, and not %q", kind, cause, says)
					}
				}()
				register(NewWorker(WorkerOptions{Slots: 4}))
			}()
		}
	}
	w := NewWorker(WorkerOptions{Slots: 4})
	HandleBatch(w, "f", Batch{Size: 4}, func(context.Context, []Item[int]) ([]Output[int], error) { return nil, nil })
}

func TestAnItemThatRanBeforeDoesNotWaitForItsBatch(t *testing.T) {
	b := newBroker(t)
	sizes := make(chan int, 10)
	startWorker(t, b, WorkerOptions{Slots: 8}, func(w *Worker) {
		HandleStageBatch(w, "list", Batch{Size: 8, Wait: time.Minute},
			func(_ context.Context, items []Item[string]) ([]Output[string], error) {
				sizes <- len(items)
				return make([]Output[string], len(items)), nil
			})
	})
	l := b.accept(5, nil)
	check := func(attempts ...int) {
		t.Helper()
		var records [][]any
		for i, attempt := range attempts {
			id := NewTaskID()
			records = append(records, []any{wire.Item, i + 1, id[:], "list", attempt, pack(t, "x")})
		}
		l.send(records...)
		for range attempts {
			l.expect(wire.Result)
		}
		if got := wait(t, sizes); got != len(attempts) {
			t.Fatal("a batch of", got)
		}
	}
	check(2)
	check(1, 3, 1)
}

func TestTheEnvironmentOfTheSupervisorIsTaken(t *testing.T) {
	t.Setenv("TUSK_URL", "tcp://127.0.0.1:9")
	t.Setenv("TUSK_SLOTS", "7")
	t.Setenv("TUSK_POOL", "p")
	t.Setenv("TUSK_WORKER", "n")
	if o := NewWorker(WorkerOptions{}).options; o.URL != "tcp://127.0.0.1:9" || o.Slots != 7 || o.Pool != "p" || o.Name != "n" {
		t.Fatalf("%+v", o)
	}
	if o := NewWorker(WorkerOptions{URL: "ipc:///x", Slots: 2, Pool: "q", Name: "m"}).options; o.URL != "ipc:///x" || o.Slots != 2 || o.Pool != "q" || o.Name != "m" {
		t.Fatalf("%+v", o)
	}
}

func TestAPacketMayHaveAsManyFramesAsTheBrokerLikes(t *testing.T) {
	b := newBroker(t)
	startWorker(t, b, WorkerOptions{Slots: 300}, func(w *Worker) {
		Handle(w, "size", func(_ context.Context, in string) (int, error) { return len(in), nil })
	})
	l := b.accept(5, nil)
	// Small frames lie within libzmq's own message, large ones do not.
	l.out++
	head := appendHeader(nil, 5, l.out, l.in)
	frames := [][]byte{nil}
	for n := range 300 {
		id := NewTaskID()
		head = l.encode(head, [][]any{{wire.Task, n, id[:], "size", 1, n + 1}})
		frames = append(frames, pack(t, strings.Repeat("x", n*n%700)))
	}
	frames[0] = head
	l.raw(frames...)
	for range 300 {
		r := l.expect(wire.Result)
		if n := int(r.Ref); r.State != 1 || !bytes.Equal(r.Body, pack(t, n*n%700)) {
			t.Fatal(describe(r))
		}
	}
}
