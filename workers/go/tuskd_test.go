package tusk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// These tests run against a real tuskd: the one that TUSKD names, else that of the release build.
// Without one they are skipped.

type daemon struct {
	t       *testing.T
	url     string
	path    string
	config  string
	process *exec.Cmd
}

// newDaemon starts a tuskd, with more keys in the section tuskd of its config.
func newDaemon(t *testing.T, keys ...string) *daemon {
	path := firstOf(os.Getenv("TUSKD"), "../../build/release/daemon/tuskd")
	if _, err := os.Stat(path); err != nil {
		t.Skip("no tuskd: ", err)
	}
	folder := t.TempDir()
	d := &daemon{t: t, path: path, url: "ipc://" + filepath.Join(folder, "router"), config: filepath.Join(folder, "tuskd.tsk")}
	text := fmt.Sprintf(`[tuskd]
endpoint: %q
events_in: null
events_out: null
pipeline_in: null
pipeline_out: null
http: null
state: null
reconnect_grace: 200ms
%s

[types]
once: { attempts: 1 }
thrice: { attempts: 3 }

[topics]
prices: {}

[ipc_patterns]
pipeline: { stages: ["double", "sum"] }
`, d.url, strings.Join(keys, "\n"))
	if err := os.WriteFile(d.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d.start()
	t.Cleanup(d.kill)
	return d
}

func (d *daemon) start() {
	d.t.Helper()
	d.process = exec.Command(d.path, d.config)
	d.process.Stderr = os.Stderr
	if err := d.process.Start(); err != nil {
		d.t.Fatal(err)
	}
}

func (d *daemon) kill() {
	d.process.Process.Kill()
	d.process.Wait()
}

func (d *daemon) client(timeout time.Duration) *Client {
	d.t.Helper()
	c, err := NewClient(Options{URL: d.url, Timeout: timeout})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { c.Close() })
	return c
}

func (d *daemon) worker(options WorkerOptions, register func(w *Worker)) {
	d.t.Helper()
	options.URL = d.url
	w := NewWorker(options)
	register(w)
	stop, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(stop) }()
	d.t.Cleanup(func() {
		cancel()
		w.ask("the test ends")
		if err := <-ended; err != nil {
			d.t.Error(err)
		}
	})
}

// TestMain lets the test binary be a worker process too.
func TestMain(m *testing.M) {
	if os.Getenv("TUSK_TEST_PROCESS") == "" {
		os.Exit(m.Run())
	}
	w := NewWorker(WorkerOptions{})
	Handle(w, "add", func(ctx context.Context, in struct{ A, B int }) (int, error) {
		time.Sleep(time.Millisecond)
		return add(ctx, in)
	})
	if err := w.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// processWorker starts a worker process of eight slots.
func (d *daemon) processWorker() *exec.Cmd {
	d.t.Helper()
	worker := exec.Command(os.Args[0])
	worker.Env = append(os.Environ(), "TUSK_TEST_PROCESS=1", "TUSK_SLOTS=8", "TUSK_URL="+d.url)
	worker.Stderr = os.Stderr
	if err := worker.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		worker.Process.Kill()
		worker.Wait()
	})
	return worker
}

func add(_ context.Context, in struct{ A, B int }) (int, error) { return in.A + in.B, nil }

func TestWithTuskdCallsEndAsTheirHandlersDo(t *testing.T) {
	d := newDaemon(t)
	c := d.client(within)
	d.worker(WorkerOptions{Slots: 4, Name: "gopher"}, func(w *Worker) {
		Handle(w, "add", add)
		Handle(w, "echo", func(_ context.Context, in any) (any, error) { return in, nil })
		Handle(w, "once", func(context.Context, any) (any, error) { return nil, errors.New("no") })
		Handle(w, "last", func(context.Context, any) (any, error) { return nil, NoRetry(errors.New("never")) })
		Handle(w, "thrice", func(ctx context.Context, _ any) (int, error) {
			info, _ := TaskFromContext(ctx)
			if info.Attempt < 3 {
				return 0, errors.New("not yet")
			}
			return info.Attempt, nil
		})
		Handle(w, "wait", func(ctx context.Context, _ any) (any, error) { <-ctx.Done(); return nil, ctx.Err() })
	})
	if got, err := Call[int](ctx, c, "add", map[string]any{"a": 1, "b": 2}); err != nil || got != 3 {
		t.Fatal(got, err)
	}
	if got, err := Call[int](ctx, c, "thrice", nil); err != nil || got != 3 {
		t.Fatal(got, err)
	}
	for name, message := range map[string]string{"once": "no", "last": "never"} {
		_, err := Call[any](ctx, c, name, nil)
		var failed *TaskError
		if !errors.As(err, &failed) || !errors.Is(err, ErrFailed) || failed.Message != message || failed.Worker != "gopher" || failed.Attempt != 1 {
			t.Fatalf("%s: %v", name, err)
		}
	}
	large := make([]byte, 5<<20)
	for i := range large {
		large[i] = byte(i >> 10)
	}
	if got, err := Call[[]byte](ctx, c, "echo", large); err != nil || !slices.Equal(got, large) {
		t.Fatal(len(got), err)
	}
	if _, err := Call[any](ctx, c, "echo", make([]byte, 65<<20)); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	id := NewTaskID()
	if _, err := c.Enqueue(ctx, "echo", 1, WithID(id)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Enqueue(ctx, "echo", 2, WithID(id)); !errors.Is(err, ErrIDConflict) && !errors.Is(err, ErrAlreadyEnded) {
		t.Fatal(err)
	}
	task, err := c.Submit(ctx, "wait", nil)
	if err != nil {
		t.Fatal(err)
	}
	for state := ""; state != "running"; {
		id := task.ID()
		answer, err := c.Query(ctx, "task", map[string]any{"id": id[:]})
		if err != nil {
			t.Fatal(err)
		}
		state, _ = answer.(map[string]any)["state"].(string)
	}
	if state, err := task.Cancel(ctx); err != nil || state != "cancelling" {
		t.Fatal(state, err)
	}
	if _, err := Result[any](ctx, task); !errors.Is(err, ErrCancelled) {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := Call[any](short, c, "wait", nil); !errors.Is(err, ErrTimeout) {
		t.Fatal(err)
	}
}

func TestWithTuskdEventsAndStagesFlow(t *testing.T) {
	d := newDaemon(t)
	c := d.client(within)
	sums := make(chan int, 100)
	d.worker(WorkerOptions{Slots: 16}, func(w *Worker) {
		HandleStage(w, "double", func(_ context.Context, n int) (int, error) {
			if n%2 == 1 {
				return 0, Drop
			}
			return 2 * n, nil
		})
		HandleStageBatch(w, "sum", Batch{Size: 4, Wait: 5 * time.Millisecond},
			func(_ context.Context, items []Item[int]) ([]Output[int], error) {
				sum := 0
				for _, item := range items {
					sum += item.Value
				}
				sums <- sum
				return make([]Output[int], len(items)), nil
			})
	})
	numbers := make([]int, 100)
	for i := range numbers {
		numbers[i] = i
	}
	if n, err := PushMany(ctx, c, "double", slices.Values(numbers)); err != nil || n != 100 {
		t.Fatal(n, err)
	}
	for total := 0; total < 4900; { // twice the even ones
		total += wait(t, sums)
	}
	events, err := c.Subscribe(ctx, "prices")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if err := c.Publish(ctx, "prices", i); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		e := next(t, events)
		var n int
		if err := e.Decode(&n); err != nil || n != i || e.Sequence != int64(i+1) || e.Missed != 0 {
			t.Fatal(n, err, e)
		}
	}
	if _, err := c.Subscribe(ctx, "price"); !errors.Is(err, ErrUnknownTopic) {
		t.Fatal(err)
	}
	if _, err := c.Push(ctx, "dubble", 1); !errors.Is(err, ErrUnknownStage) {
		t.Fatal(err)
	}
}

// The broker is killed again and again while tasks run. Each call has one ending, the right one.
func TestWithTuskdKilledUnderLoadEveryCallEndsOnce(t *testing.T) {
	d := newDaemon(t)
	c := d.client(2 * within)
	var runs atomic.Int64
	for range 2 {
		d.worker(WorkerOptions{Slots: 100}, func(w *Worker) {
			Handle(w, "add", func(ctx context.Context, in struct{ A, B int }) (int, error) {
				if runs.Add(1)%16 == 0 {
					time.Sleep(time.Millisecond)
				}
				return add(ctx, in)
			})
		})
	}
	const callers, each = 50, 400
	var ended atomic.Int64
	var group sync.WaitGroup
	for caller := range callers {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := range each {
				got, err := Call[int](ctx, c, "add", map[string]int{"a": caller, "b": i})
				if err != nil || got != caller+i {
					t.Errorf("%d + %d = %d, %v", caller, i, got, err)
					return
				}
				ended.Add(1)
			}
		}()
	}
	for part := range int64(4) {
		for ended.Load() < (part+1)*callers*each/5 && !t.Failed() {
			time.Sleep(time.Millisecond)
		}
		d.kill()
		d.start()
	}
	group.Wait()
	if ended.Load() != callers*each {
		t.Fatal(ended.Load(), "of", callers*each, "ended")
	}
	t.Logf("%d calls, %d runs, 4 kills", ended.Load(), runs.Load())
}

func TestWithTuskdAWorkerProcessIsKilledAndAnotherEndsInOrder(t *testing.T) {
	d := newDaemon(t)
	c := d.client(2 * within)
	first, second := d.processWorker(), d.processWorker()
	const calls = 4000
	inputs := func(yield func(map[string]int) bool) {
		for i := range calls {
			switch i {
			case calls / 3:
				first.Process.Kill()
				d.processWorker()
			case 2 * calls / 3:
				second.Process.Signal(os.Interrupt)
			}
			if !yield(map[string]int{"a": i, "b": 1}) {
				return
			}
		}
	}
	i := 0
	for got, err := range CallMany[int](ctx, c, "add", inputs, RerunOK()) {
		if err != nil || got != i+1 {
			t.Fatal(i, got, err)
		}
		i++
	}
	if i != calls {
		t.Fatal(i)
	}
	if err := second.Wait(); err != nil {
		t.Fatal("the worker that was interrupted:", err)
	}
}

// proxy stands between peers and the broker, and cuts their connections.
type proxy struct {
	listener net.Listener
	to       string
	mu       sync.Mutex
	open     []net.Conn
}

func newProxy(t *testing.T, to string) (url string, p *proxy) {
	t.Helper()
	from := filepath.Join(t.TempDir(), "proxy")
	listener, err := net.Listen("unix", from)
	if err != nil {
		t.Fatal(err)
	}
	p = &proxy{listener: listener, to: to}
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("unix", to)
			if err != nil {
				near.Close()
				continue
			}
			p.mu.Lock()
			p.open = append(p.open, near, far)
			p.mu.Unlock()
			for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
				go func() {
					io.Copy(pair[0], pair[1])
					pair[0].Close()
				}()
			}
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		p.cut()
	})
	return "ipc://" + from, p
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		c.Close()
	}
	p.open = nil
}

// Connections are cut again and again, in the middle of packets. Sessions resume: each task runs once.
func TestWithTuskdCutConnectionsLoseAndRepeatNothing(t *testing.T) {
	d := newDaemon(t)
	url, p := newProxy(t, strings.TrimPrefix(d.url, "ipc://"))
	behind := *d
	behind.url = url
	c := behind.client(2 * within)
	var runs atomic.Int64
	behind.worker(WorkerOptions{Slots: 100}, func(w *Worker) {
		Handle(w, "add", func(ctx context.Context, in struct{ A, B int }) (int, error) {
			runs.Add(1)
			return add(ctx, in)
		})
	})
	const calls = 60_000
	inputs := func(yield func(struct{ A, B int }) bool) {
		for i := range calls {
			if i%6_000 == 3_000 {
				p.cut()
			}
			if !yield(struct{ A, B int }{i, 1}) {
				return
			}
		}
	}
	i := 0
	for got, err := range CallMany[int](ctx, c, "add", inputs) {
		if err != nil || got != i+1 {
			t.Fatal(i, got, err)
		}
		i++
	}
	status, err := c.Query(ctx, "status", nil)
	if err != nil {
		t.Fatal(err)
	}
	counters := status.(map[string]any)["counters"].(map[string]any)
	if i != calls || runs.Load() != calls || counters["sessions_resumed"].(int64) < 10 {
		t.Fatal(i, "calls,", runs.Load(), "runs", counters)
	}
}

// Another client than the submitter's looks after tasks by their ids, and keys keep one task at a time.
func TestWithTuskdTasksAreUniqueChangedAndAwaitedByID(t *testing.T) {
	d := newDaemon(t)
	gate, begun := make(chan struct{}), make(chan struct{}, 9)
	d.worker(WorkerOptions{Slots: 1}, func(w *Worker) {
		Handle(w, "double", func(_ context.Context, n int) (int, error) {
			begun <- struct{}{}
			<-gate
			if n < 0 {
				return 0, TypedError("Negative", errors.New("no"))
			}
			return 2 * n, nil
		})
	})
	c, other := d.client(within), d.client(within)
	submit := func(n int, options ...CallOption) *Task {
		t.Helper()
		task, err := c.Submit(ctx, "double", n, options...)
		if err != nil {
			t.Fatal(err)
		}
		return task
	}
	first := submit(1, WithUnique("k"))
	<-begun
	joined := submit(2, WithUnique("k"))
	next := submit(3, WithUnique("k"), WithUniquePolicy(UniqueFollowUp))
	replaced := submit(4, WithUnique("k"), WithUniquePolicy(UniqueReplace)) // next, which waits
	_, err := Call[int](ctx, c, "double", 5, WithUnique("k"), WithUniquePolicy(UniqueRefuse))
	var duplicate *DuplicateError
	if !errors.As(err, &duplicate) || duplicate.ID != first.ID() || duplicate.State != "running" {
		t.Fatal(err)
	}
	bad := submit(-1, WithRetention(time.Minute), WithAttempts(2), WithBackoff(Backoff{}))
	late, err := c.Enqueue(ctx, "double", 10, WithRetention(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if state, updated, err := other.Update(ctx, late, WithBody(11), WithPriority(50)); err != nil || state != "waiting" || !updated {
		t.Fatal(state, updated, err)
	}
	status, err := other.Task(ctx, late)
	if err != nil || status.State != "waiting" || status.Type != "double" || status.Priority != 50 || status.Attempts != 0 {
		t.Fatalf("%+v %v", status, err)
	}
	close(gate)
	for task, want := range map[*Task]int{first: 2, joined: 2, next: 8, replaced: 8} {
		if got, err := Result[int](ctx, task); err != nil || got != want {
			t.Error(got, want, err)
		}
	}
	if joined.JoinedID() != first.ID() || replaced.JoinedID() != next.ID() {
		t.Error("joined another task")
	}
	nobody := NewTaskID()
	outcomes := AwaitAll[int](ctx, other, []TaskID{late, bad.ID(), nobody})
	if outcomes[0].Value != 22 || !errors.Is(outcomes[1].Err, ErrDead) || !errors.Is(outcomes[2].Err, ErrUnknownTask) {
		t.Fatal(outcomes)
	}
	status, err = other.Task(ctx, bad.ID())
	if err != nil || status.State != "dead" || status.Failures != 2 || len(status.History) != 2 || status.Error == nil || status.Error.Type != "Negative" {
		t.Fatalf("%+v %v", status, err)
	}
	if status, err = other.Task(ctx, nobody); err != nil || status.State != "unknown" {
		t.Fatal(status, err)
	}
	if state, updated, err := other.Update(ctx, late, WithDelay(0)); err != nil || state != "succeeded" || updated {
		t.Fatal(state, updated, err)
	}
}

func TestWithTuskdTasksAreListedAndCancelledByTheirLabels(t *testing.T) {
	d := newDaemon(t)
	seen := make(chan map[string]string, 1)
	d.worker(WorkerOptions{Slots: 1}, func(w *Worker) {
		Handle(w, "labelled", func(ctx context.Context, _ any) (any, error) {
			task, _ := TaskFromContext(ctx)
			seen <- task.Labels()
			return nil, nil
		})
	})
	c := d.client(within)
	const each = 150
	for i := range 2 * each {
		labels := map[string]string{"customer": []string{"acme", "other"}[i%2], "n": fmt.Sprint(i)}
		if _, err := c.Enqueue(ctx, "labelled", i, WithLabels(labels), WithDelay(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	count := func(filter Filter) (n int) {
		t.Helper()
		for task, err := range c.Tasks(ctx, filter, 40) {
			if err != nil {
				t.Fatal(err)
			}
			if task.ID == (TaskID{}) || task.Type != "labelled" || task.State != "delayed" || task.Labels["n"] == "" {
				t.Fatalf("%+v", task)
			}
			n++
		}
		return n
	}
	acme := Filter{Labels: map[string]string{"customer": "acme", "n": AnyLabel}}
	if n := count(acme); n != each {
		t.Fatal(n)
	}
	if n := count(Filter{Type: "labelled"}); n != 2*each {
		t.Fatal(n)
	}
	if job, err := c.CancelAll(ctx, acme, DryRun()); err != nil || job.Matched != each || job.Changed != 0 || !job.DryRun {
		t.Fatal(job, err)
	}
	if job, err := c.CancelAll(ctx, acme); err != nil || job.Matched != each || job.Changed != each || job.State != "done" {
		t.Fatal(job, err)
	}
	one := Filter{Labels: map[string]string{"n": "1"}}
	if job, err := c.ReprioritiseAll(ctx, one, PriorityHigh); err != nil || job.Changed != 1 {
		t.Fatal(job, err)
	}
	if job, err := c.RetryAll(ctx, one); err != nil || job.Changed != 1 {
		t.Fatal(job, err)
	}
	if labels := wait(t, seen); labels["n"] != "1" || labels["customer"] != "other" {
		t.Fatal(labels)
	}
	if n := count(Filter{State: "delayed"}); n != each-1 {
		t.Fatal(n)
	}
}

func TestWithTuskdTasksGoWhereThereIsWhatTheyNeed(t *testing.T) {
	d := newDaemon(t, "unserved_grace: 0s")
	for _, o := range []WorkerOptions{
		{Slots: 4, Name: "eu", Labels: map[string]any{"region": "eu", "gpu": 1}},
		{Slots: 4, Name: "us", Labels: map[string]any{"region": "us"}},
	} {
		d.worker(o, func(w *Worker) {
			Handle(w, "where", func(context.Context, any) (string, error) { return o.Name, nil })
		})
	}
	c := d.client(within)
	// Before both are there, what nobody fits yet is an error.
	for found := 0; found < 2; {
		workers, err := c.Query(ctx, "workers", nil)
		if err != nil {
			t.Fatal(err)
		}
		list, _ := workers.([]any)
		found = len(list)
	}
	ask := func(options ...CallOption) (string, error) {
		return Call[string](ctx, c, "where", nil, options...)
	}
	for range 10 {
		if name, err := ask(WithRequires(map[string]any{"region": "us"})); err != nil || name != "us" {
			t.Fatal(name, err)
		}
		if name, err := ask(WithConsumes(map[string]int{"gpu": 1})); err != nil || name != "eu" {
			t.Fatal(name, err)
		}
		if name, err := ask(WithPrefers(map[string]any{"region": "us"})); err != nil || name != "us" {
			t.Fatal(name, err)
		}
	}
	for _, nobody := range []CallOption{WithRequires(map[string]any{"region": "mars"}), WithRequires(map[string]any{"gpu": 2}), WithConsumes(map[string]int{"gpu": 2})} {
		if name, err := ask(nobody); !errors.Is(err, ErrUnserved) {
			t.Fatal(name, err)
		}
	}
	for _, key := range []string{"a", "b", "c"} {
		first, err := ask(WithStickyKey(key))
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if name, err := ask(WithStickyKey(key)); err != nil || name != first {
				t.Fatal(name, first, err)
			}
		}
	}
}

func TestWithTuskdParentsOnAWorkerOfOneSlotWaitForTheirChildrenThere(t *testing.T) {
	d := newDaemon(t)
	d.worker(WorkerOptions{Slots: 1}, func(w *Worker) {
		Handle(w, "tree", func(ctx context.Context, depth int) (int, error) {
			if depth == 0 {
				return 1, nil
			}
			counts, err := CallChildren[int](ctx, "tree", slices.Values([]int{depth - 1, depth - 1, depth - 1}))
			sum := 1
			for _, count := range counts {
				sum += count
			}
			return sum, err
		})
		Handle(w, "double", func(_ context.Context, n int) (int, error) { return 2 * n, nil })
		Handle(w, "late", func(ctx context.Context, n int) (int, error) {
			return CallChild[int](ctx, "double", n, WithDelay(300*time.Millisecond))
		})
	})
	c := d.client(2 * within)
	if got, err := Call[int](ctx, c, "tree", 4); err != nil || got != 1+3+9+27+81 {
		t.Fatal(got, err)
	}
	// They are all suspended at once: each of their children waits for longer than all of them take.
	inputs := make([]int, 200)
	for i := range inputs {
		inputs[i] = i
	}
	i := 0
	for got, err := range CallMany[int](ctx, c, "late", slices.Values(inputs)) {
		if err != nil || got != 2*i {
			t.Fatal(i, got, err)
		}
		i++
	}
}

func TestWithTuskdAChildIsCancelledWithItsParent(t *testing.T) {
	d := newDaemon(t)
	reasons := make(chan string, 2)
	running := make(chan struct{}, 1)
	d.worker(WorkerOptions{Slots: 1}, func(w *Worker) {
		Handle(w, "parent", func(ctx context.Context, _ any) (any, error) {
			task, _ := TaskFromContext(ctx)
			defer func() { reasons <- "parent: " + task.CancelReason() }()
			return CallChild[any](ctx, "child", nil)
		})
		Handle(w, "child", func(ctx context.Context, _ any) (any, error) {
			running <- struct{}{}
			<-ctx.Done()
			task, _ := TaskFromContext(ctx)
			reasons <- "child: " + task.CancelReason()
			return nil, ctx.Err()
		})
	})
	c := d.client(within)
	task, err := c.Submit(ctx, "parent", nil, WithLabels(map[string]string{"customer": "acme"}))
	if err != nil {
		t.Fatal(err)
	}
	wait(t, running)
	found := 0
	for child, err := range c.Tasks(ctx, Filter{Parent: task.ID(), Labels: map[string]string{"customer": "acme"}}, 0) {
		if err != nil || child.Type != "child" || child.Parent != task.ID() {
			t.Fatal(child, err)
		}
		found++
	}
	if found != 1 {
		t.Fatal(found, "children")
	}
	if _, err := task.Cancel(ctx); err != nil {
		t.Fatal(err)
	}
	told := []string{wait(t, reasons), wait(t, reasons)}
	slices.Sort(told)
	if !slices.Equal(told, []string{"child: parent", "parent: cancelled"}) {
		t.Fatal(told)
	}
}
func TestWithTuskdStreamsHoldTheirSenderUpAndBeginAnew(t *testing.T) {
	d := newDaemon(t)
	var sent atomic.Int64
	d.worker(WorkerOptions{Slots: 1}, func(w *Worker) {
		Handle(w, "thrice", func(ctx context.Context, n int) (int, error) {
			task, _ := TaskFromContext(ctx)
			for i := range n {
				if err := task.Send(ctx, i); err != nil {
					return 0, err
				}
				sent.Add(1)
				if task.Attempt == 1 && i == n/2 {
					return 0, errors.New("not yet")
				}
			}
			return n, nil
		})
	})
	c := d.client(within)
	const n = 500
	stream, err := Stream[int](ctx, c, "thrice", n, WithWindow(8))
	if err != nil {
		t.Fatal(err)
	}
	next, attempts := 0, 1
	for chunk, err := range stream.All(ctx) {
		var restarted *StreamRestarted
		switch {
		case errors.As(err, &restarted):
			next, attempts = 0, restarted.Attempt
		case err != nil || chunk != next:
			t.Fatal(chunk, next, err)
		default:
			next++
			if attempts == 1 && int(sent.Load()) > next+2*8 {
				t.Fatal(sent.Load(), "were sent when", next, "had been read")
			}
		}
	}
	var result int
	if err := stream.Result(&result); err != nil || result != n || next != n || attempts != 2 {
		t.Fatal(result, next, attempts, err)
	}
}
