package tusk

import (
	"context"
	"iter"
)

// Task is a task that was submitted. Its methods may be called by many goroutines.
type Task struct {
	client  *Client
	request *request
	parent  *run // whose child it is; nil: nobody's here
}

// ID names the task for ever. One with a unique key may join another: see JoinedID.
func (t *Task) ID() TaskID { return t.request.id }

// JoinedID is the id that counts once the task has ended: that of the task which it joined by its
// unique key, else its own.
func (t *Task) JoinedID() TaskID {
	select {
	case <-t.request.done:
		if t.request.counts != (TaskID{}) {
			return t.request.counts
		}
	default:
	}
	return t.request.id
}

// Done is closed when the task has ended, or its time is over.
func (t *Task) Done() <-chan struct{} { return t.request.done }

// Cancel cancels the task; see Client.Cancel.
func (t *Task) Cancel(ctx context.Context) (string, error) {
	return t.client.Cancel(ctx, t.request.id)
}

// Result waits for the task's ending and decodes what its handler returned. The end of ctx ends only
// the waiting. Result may be called again.
func Result[Out any](ctx context.Context, t *Task) (Out, error) {
	var out Out
	if t.parent != nil {
		if err := t.parent.waitFor(ctx, []*request{t.request}); err != nil {
			return out, err
		}
	}
	select {
	case <-t.request.done:
	case <-ctx.Done():
		return out, t.client.contextError(t.request, ctx.Err())
	}
	if t.request.err != nil {
		return out, t.request.err
	}
	return out, t.request.read(&out, t.client)
}

// manyInFlight is how many tasks of one CallMany are under way at once: enough to keep packets full.
const manyInFlight = 1024

// CallMany runs a task for each input and yields the results in the order of the inputs, an error in
// place of a result that there is not. At most 1,024 are under way at once. Inputs are taken by the
// goroutine that ranges over the results. Ending the range early cancels what is under way.
func CallMany[Out, In any](ctx context.Context, c *Client, taskType string, inputs iter.Seq[In],
	options ...CallOption) iter.Seq2[Out, error] {
	return func(yield func(Out, error) bool) {
		type slot struct {
			request *request
			err     error
		}
		var window fifoOf[slot]
		defer func() {
			for window.len() > 0 {
				if s := window.pop(); s.err == nil {
					c.giveUp(s.request)
				}
			}
		}()
		first := func() bool {
			var out Out
			s := window.pop()
			err := s.err
			if err == nil {
				err = c.await(ctx, s.request)
			}
			if err == nil {
				err = s.request.read(&out, c)
			}
			return yield(out, err)
		}
		for in := range inputs {
			if window.len() >= manyInFlight && !first() {
				return
			}
			r, err := c.submit(ctx, taskType, in, 0, nil, options)
			window.push(slot{r, err})
		}
		for window.len() > 0 {
			if !first() {
				return
			}
		}
	}
}

// Outcome is what became of one task of CallManyAsCompleted.
type Outcome[Out any] struct {
	Index int // of its input, from 0
	Value Out
	Err   error
}

// CallManyAsCompleted is CallMany that yields each result as soon as it is there.
func CallManyAsCompleted[Out, In any](ctx context.Context, c *Client, taskType string, inputs iter.Seq[In],
	options ...CallOption) iter.Seq[Outcome[Out]] {
	return func(yield func(Outcome[Out]) bool) {
		ended := make(chan *request, manyInFlight)
		indexes := make(map[*request]int, manyInFlight)
		defer func() {
			for r := range indexes {
				c.giveUp(r)
			}
		}()
		one := func() bool {
			var r *request
			index, mine := 0, false
			for !mine { // what was given up is told as well
				select {
				case r = <-ended:
				case <-ctx.Done():
					for r = range indexes { // any: all end now
						break
					}
				}
				index, mine = indexes[r]
			}
			delete(indexes, r)
			outcome := Outcome[Out]{Index: index}
			if outcome.Err = c.await(ctx, r); outcome.Err == nil {
				outcome.Err = r.read(&outcome.Value, c)
			}
			return yield(outcome)
		}
		index := 0
		for in := range inputs {
			if len(indexes) >= manyInFlight && !one() {
				return
			}
			r, err := c.submit(ctx, taskType, in, 0, ended, options)
			if err == nil {
				indexes[r] = index
			} else if !yield(Outcome[Out]{Index: index, Err: err}) {
				return
			}
			index++
		}
		for len(indexes) > 0 {
			if !one() {
				return
			}
		}
	}
}
