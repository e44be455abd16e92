package tusk

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// CallChild runs a task as child of the run whose handler got ctx, and waits for its result; meanwhile the
// run does not take one of the worker's slots, and goes on when it has its result and a slot again. A child
// is cancelled with its parent, by the reason "parent", and has its parent's deadline and labels. Without a
// WithTimeout it waits as long as the run may take. Else it is as Call; a context that is not of a handler
// is ErrInvalid.
//
//	area, err := tusk.CallChild[float64](ctx, "area", shape)
//
// What a stage handler submits are no children, and while it waits it keeps its slot.
func CallChild[Out any](ctx context.Context, taskType string, in any, options ...CallOption) (Out, error) {
	var out Out
	t, _ := TaskFromContext(ctx)
	c, r, err := t.child(ctx, taskType, in, options)
	if err == nil {
		err = t.run.await(ctx, c, r)
	}
	if err == nil {
		err = r.read(&out, c)
	}
	return out, err
}

// CallChildren is CallChild for each of the inputs, 1,000 at a time, with one waiting for all of these. The
// results are in the order of the inputs. The error is that of the first in this order that failed; the
// others have ended, too, and their results are there.
func CallChildren[Out, In any](ctx context.Context, taskType string, inputs iter.Seq[In], options ...CallOption) ([]Out, error) {
	t, _ := TaskFromContext(ctx)
	var results []Out
	var first error
	var round []*Task
	end := func() {
		found, err := Results[Out](ctx, round...)
		if first == nil {
			first = err
		}
		for _, task := range round { // of a waiting that was ended
			select {
			case <-task.request.done:
			default:
				task.client.giveUp(task.request)
			}
		}
		results, round = append(results, found...), round[:0]
	}
	for in := range inputs {
		task, err := t.Submit(ctx, taskType, in, options...)
		if err != nil {
			end()
			return results, err
		}
		if round = append(round, task); len(round) == wire.MaxAwaited {
			end()
		}
		if ctx.Err() != nil {
			break
		}
	}
	end()
	return results, first
}

// Submit submits a task as child of this run, as CallChild does, and does not wait. Result and Results wait
// for it without taking a slot.
func (t TaskInfo) Submit(ctx context.Context, taskType string, in any, options ...CallOption) (*Task, error) {
	keep := func(r *request) { r.keep = true }
	c, r, err := t.child(ctx, taskType, in, append(options[:len(options):len(options)], keep))
	if err != nil {
		return nil, err
	}
	return &Task{client: c, request: r, parent: t.run}, nil
}

// Results waits for the endings of several tasks and decodes what their handlers returned, in the order of
// the tasks. If they are children of one run, it waits for all of them with one suspend. The error is that
// of the first that failed. The end of ctx ends only the waiting.
func Results[Out any](ctx context.Context, tasks ...*Task) ([]Out, error) {
	results := make([]Out, len(tasks))
	children := make([]*request, 0, len(tasks))
	for _, t := range tasks {
		if t.parent != nil && t.parent == tasks[0].parent {
			children = append(children, t.request)
		}
	}
	var first error
	if len(children) > 0 {
		if first = tasks[0].parent.waitFor(ctx, children); first != nil {
			return results, first
		}
	}
	for i, t := range tasks {
		var err error
		if results[i], err = Result[Out](ctx, t); first == nil {
			first = err
		}
	}
	return results, first
}

// child submits a task as child of this run.
func (t TaskInfo) child(ctx context.Context, taskType string, in any, options []CallOption) (*Client, *request, error) {
	if !t.goesOn() {
		return nil, nil, newError(ErrInvalid, t.ID, "only a run that goes on has children; give the context of its handler")
	}
	c, err := t.run.handler.worker.childClient()
	if err != nil {
		return nil, nil, err
	}
	asChild := func(r *request) {
		if !t.Item {
			r.asks().parent = &t.ID
		}
		r.taken = make(chan struct{})
	}
	r, err := c.submit(ctx, taskType, in, acceptedToo, nil, append(options[:len(options):len(options)], asChild))
	return c, r, err
}

// childClient is the client that submits children; it is made when the first does.
func (w *Worker) childClient() (*Client, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.client == nil {
		if w.over {
			return nil, newError(ErrClosed, TaskID{}, "the worker has ended")
		}
		c, err := NewClient(Options{URL: w.options.URL, Name: w.options.Name, Timeout: NoTimeout})
		if err != nil {
			return nil, err
		}
		w.client = c
	}
	return w.client, nil
}

func (w *Worker) closeChildClient() {
	w.mu.Lock()
	c := w.client
	w.over = true
	w.mu.Unlock()
	if c != nil {
		c.Close()
	}
}

// await waits for one child, whose task is cancelled with ctx.
func (r *run) await(ctx context.Context, c *Client, child *request) error {
	if err := r.waitFor(ctx, []*request{child}); err != nil && ctx.Err() == nil {
		c.giveUp(child)
		return err
	}
	return c.await(ctx, child)
}

// awaiting is what the goroutines of a run's handler wait for.
type awaiting struct {
	mu        sync.Mutex
	children  map[*request]int // by how many
	suspended *suspension      // nil: the run has a slot
}

// suspension is the time in which a run has no slot.
type suspension struct {
	over chan struct{} // closed when the run has a slot, or it need not wait for one

	// mu guards the rest until over is closed.
	named  []*request // what it waits for
	left   bool       // nobody waits any more, and it is not over yet
	keeps  bool       // the broker has not taken the slot
	err    error      // why it must not wait
	notice *notice
}

// A run that is resumed has its results, or they are about to come, by another connection. If they do not,
// the broker was restarted and does not know the children yet: then the run suspends anew, after a rest that
// grows from the one to the other.
const (
	firstRest   = 50 * time.Millisecond
	longestRest = 500 * time.Millisecond
)

// waitFor returns when all of these have ended and the run has a slot, when ctx or the run is to end (the
// caller looks at what the children came to), or with the broker's error when it must not wait for them.
func (r *run) waitFor(ctx context.Context, children []*request) error {
	open := unfinished(children)
	if len(open) == 0 {
		return nil
	}
	w := waiter{ctx.Done(), r.ctx.Done()}
	for _, child := range open {
		// The broker takes what it does not know for something that has ended.
		if !w.wait(child.taken, child.done) {
			return nil
		}
	}
	for rest := firstRest; len(open) > 0; {
		s := r.suspend(open)
		if s == nil {
			w.waitForAll(open, nil)
			return nil
		}
		resumed := w.wait(s.over, nil)
		r.awaits.Load().forget(open, s)
		if !resumed {
			return nil
		}
		if s.err != nil {
			return s.err
		}
		open = unfinished(open)
		if s.keeps {
			w.waitForAll(open, nil)
			return nil
		}
		if len(open) > 0 {
			w.rest(rest, s.named)
			rest = min(2*rest, longestRest)
			open = unfinished(open)
		}
	}
	return nil
}

// waiter is a goroutine that waits until its own context ends, or that of the run.
type waiter struct{ ended, stopped <-chan struct{} }

// wait returns false when it is to wait no longer, for neither.
func (w waiter) wait(one, other <-chan struct{}) bool {
	select {
	case <-one:
	case <-other:
	case <-w.ended:
		return false
	case <-w.stopped:
		return false
	}
	return true
}

// waitForAll waits for these, or until over is closed.
func (w waiter) waitForAll(children []*request, over <-chan struct{}) bool {
	for _, child := range children {
		if !w.wait(child.done, over) {
			return false
		}
	}
	return true
}

// rest waits for these, but no longer than that.
func (w waiter) rest(d time.Duration, children []*request) {
	over := make(chan struct{})
	timer := time.AfterFunc(d, func() { close(over) })
	defer timer.Stop()
	w.waitForAll(children, over)
}

func unfinished(children []*request) []*request {
	var open []*request
	for _, child := range children {
		select {
		case <-child.done:
		default:
			open = append(open, child)
		}
	}
	return open
}

// suspend lends the run's slot out until these and what else the run waits for have ended. Nil: it keeps
// its slot.
func (r *run) suspend(children []*request) *suspension {
	if r.info.Item {
		return nil
	}
	a := r.awaits.Load()
	if a == nil {
		r.awaits.CompareAndSwap(nil, &awaiting{children: map[*request]int{}})
		a = r.awaits.Load()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.status.Load() != runStarted || a.suspended != nil && a.suspended.left {
		return nil
	}
	for _, child := range children {
		a.children[child]++
	}
	if a.suspended == nil {
		a.suspended = &suspension{over: make(chan struct{})}
		a.name()
		w := r.handler.worker
		w.executor.lend()
		w.tellSuspended(r, a.suspended)
	}
	return a.suspended
}

// suspendAgain tells another session, in which the run has another handle.
func (r *run) suspendAgain() {
	a := r.awaits.Load()
	if a == nil {
		return
	}
	a.mu.Lock()
	waits := a.suspended != nil && a.name()
	if waits {
		r.handler.worker.tellSuspended(r, a.suspended)
	}
	a.mu.Unlock()
	if !waits {
		r.resume(false, nil)
	}
}

// name makes the suspension about all that has not ended, as far as one record goes. mu is held.
func (a *awaiting) name() (any bool) {
	s := a.suspended
	s.named = s.named[:0:0]
	for child := range a.children {
		select {
		case <-child.done:
			continue
		default:
		}
		if s.named = append(s.named, child); len(s.named) == wire.MaxAwaited {
			break
		}
	}
	return len(s.named) > 0
}

// forget takes out what a goroutine no longer waits for.
func (a *awaiting) forget(children []*request, s *suspension) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, child := range children {
		if a.children[child]--; a.children[child] <= 0 {
			delete(a.children, child)
		}
	}
	s.left = len(a.children) == 0
}

// resume ends the run's suspension, if there is one: the run has a slot again, keeps the one that it has,
// needs none any more, or must not wait, because of err.
func (r *run) resume(keeps bool, err error) (was bool) {
	a := r.awaits.Load()
	if a == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.suspended
	if s == nil {
		return false
	}
	a.suspended = nil
	s.keeps, s.err = keeps, err
	close(s.over)
	r.handler.worker.executor.takeBack()
	return true
}

// refusedToSuspend says whether this error is the answer to a suspend. A broker that is full, or does not
// carry it out, leaves the run its slot.
func (r *run) refusedToSuspend(record *wire.Record, url string) bool {
	switch code(record.Name) {
	case ErrFull, ErrUnsupported, "unknown_handle":
		return r.resume(true, nil)
	case ErrInvalid: // which may be about something else that the run said
		err := brokerError(record, r.info.ID, url)
		if err.Details["field"] == "ids" {
			return r.resume(true, err)
		}
	}
	return false
}

// tellSuspended queues a suspend, once. The run's mu is held.
func (w *Worker) tellSuspended(r *run, s *suspension) {
	ids := wire.AppendList(make([]byte, 0, 3+18*len(s.named)), len(s.named))
	for _, child := range s.named {
		ids = wire.AppendBytes(ids, child.id[:])
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.notice == nil || !s.notice.queued {
		s.notice = &notice{run: r, kind: wire.Suspend, text: string(ids)}
		w.queueNotice(s.notice)
	}
}
