package tusk

import (
	"context"
	"iter"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// Push brings an item into a stage of the pipeline and returns when the broker has accepted it, that
// is, when there is room: this is the pusher's back-pressure. Without a deadline it waits as long as
// the broker is there. After an error the item may have been accepted; push it again WithID and
// Resent.
func (c *Client) Push(ctx context.Context, stage string, item any, options ...CallOption) (TaskID, error) {
	r, err := c.push(ctx, stage, item, nil, options)
	if err == nil {
		err = c.await(ctx, r)
	}
	return r.id, err
}

func (c *Client) push(ctx context.Context, stage string, item any, notify chan<- *request,
	options []CallOption) (*request, error) {
	r := &request{kind: wire.Push, name: stage, notify: notify}
	patient := func(r *request) { r.patient = r.patience == 0 }
	return r, c.start(ctx, r, item, append(options[:len(options):len(options)], patient))
}

// PushMany pushes each item, at most 1,024 unanswered at once, and returns how many were accepted. It
// ends at the first error, which says of which item it is by its id.
func PushMany[T any](ctx context.Context, c *Client, stage string, items iter.Seq[T], options ...CallOption) (int, error) {
	var window fifo
	accepted := 0
	first := func() error {
		err := c.await(ctx, window.pop())
		if err == nil {
			accepted++
		}
		return err
	}
	for item := range items {
		if window.len() >= manyInFlight {
			if err := first(); err != nil {
				return accepted + c.settle(&window), err
			}
		}
		r, err := c.push(ctx, stage, item, nil, options)
		if err != nil {
			return accepted + c.settle(&window), err
		}
		window.push(r)
	}
	for window.len() > 0 {
		if err := first(); err != nil {
			return accepted + c.settle(&window), err
		}
	}
	return accepted, nil
}

// settle gives up what is still in the window and says how much of it had been accepted.
func (c *Client) settle(window *fifo) (accepted int) {
	for window.len() > 0 {
		r := window.pop()
		select {
		case <-r.done:
			if r.err == nil {
				accepted++
			}
		default:
			c.giveUp(r)
		}
	}
	return accepted
}
