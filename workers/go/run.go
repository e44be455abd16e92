package tusk

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// TaskInfo is what a handler may know of the run it is, and what it may say of it.
type TaskInfo struct {
	ID      TaskID
	Type    string // of the task, or the name of the stage handler
	Attempt int    // from 1
	Item    bool   // of a pipeline
	Trace   string // W3C traceparent of the submitter; may be empty
	Baggage string // W3C baggage of the submitter; may be empty
	run     *run
}

// TaskFromContext returns the run whose handler got ctx, or a context made from it. In a batch
// handler each item has its own; see Item.
func TaskFromContext(ctx context.Context) (TaskInfo, bool) {
	info, ok := ctx.Value(taskKey{}).(*TaskInfo)
	if !ok {
		return TaskInfo{}, false
	}
	return *info, true
}

type taskKey struct{}

// The states of a run on its way through the worker.
const (
	runWaits   int32 = iota // may be given back
	runStarted              // its handler runs
	runEnded                // answered, or given back
)

// run is one run of a task or item.
type run struct {
	handler *handler
	info    TaskInfo
	in      body
	ctx     runContext
	status  atomic.Int32
	cost    atomic.Int64             // units that it really took, and 1; 0: it did not say
	given   *given                   // nil: nothing
	kept    *notice                  // the last checkpoint; under the worker's mu
	pause   *notice                  // the last pause; under the worker's mu
	awaits  atomic.Pointer[awaiting] // nil: it never waited for children

	// The session's goroutine owns the rest.
	handle  int64
	dropped bool // the broker does not want its result
	refused bool // the broker could not read its result, and gets a failure instead
}

// given is what seldom comes with a run.
type given struct {
	due        time.Time // when it has to be over; zero: no bound
	checkpoint []byte    // of an earlier run, as msgpack; nil: none
	labels     []byte    // of the task, as msgpack; nil: none
	stream     *outflow  // nil: nobody asked for one
}

// claim takes the run out of waiting, if it still waits.
func (r *run) take(status int32) bool {
	return r.status.CompareAndSwap(runWaits, status)
}

// end is for when the handler has returned.
func (r *run) end() {
	r.status.Store(runEnded)
	r.ctx.release()
	r.resume(true, nil)
}

// result is a run's answer.
type result struct {
	run     *run
	state   int64
	body    body
	noRetry bool
	failure *failure
	after   uint64 // ms, if deferred
}

// deferred is the state of a result that is no ending: the task runs again later.
const deferred = -1

// failure becomes the error map of a result.
type failure struct {
	Type     string `msgpack:"type"`
	Message  string `msgpack:"message"`
	Language string `msgpack:"language"`
	Stack    string `msgpack:"stack,omitempty"`
}

// runContext is the context of one run. Most handlers never look at Done, so that its channel is made
// when they do: this is what a run costs less than context.WithCancel.
type runContext struct {
	values context.Context
	info   *TaskInfo
	mu     sync.Mutex
	done   chan struct{}
	err    error
	reason string // why it was told to stop; empty: it was not
	after  map[*func()]struct{}
}

func (c *runContext) Deadline() (time.Time, bool) { return time.Time{}, false }

func (c *runContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.err != nil {
			close(c.done)
		}
	}
	return c.done
}

func (c *runContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *runContext) Value(key any) any {
	if key == (taskKey{}) && c.info != nil {
		return c.info
	}
	return c.values.Value(key)
}

// AfterFunc lets contexts that are made from this one wait for its end without a goroutine each; the
// package context looks for this method.
func (c *runContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	if c.after == nil {
		c.after = map[*func()]struct{}{}
	}
	key := &f
	c.after[key] = struct{}{}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, there := c.after[key]
		delete(c.after, key)
		return there
	}
}

// cancel ends the context. It may be called again: the first reason stays.
func (c *runContext) cancel(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err, c.reason = context.Canceled, reason
	if c.done != nil {
		close(c.done)
	}
	for f := range c.after {
		go (*f)()
	}
	c.after = nil
}

// release ends a context that somebody may wait for, once its handler has returned.
func (c *runContext) release() {
	c.mu.Lock()
	waited := c.done != nil || c.after != nil
	c.mu.Unlock()
	if waited {
		c.cancel("")
	}
}
