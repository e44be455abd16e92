package tusk

import (
	"context"
	"time"
	"unicode/utf8"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// mostCost bounds the cost of a run, in units.
const mostCost = 1_000_000_000

// WithOrderKey makes tasks of one type with the same key, 1 to 255 bytes of UTF-8, run one at a time in
// the order of their acceptance: the next begins when the one before has ended, its retries and delays
// included.
func WithOrderKey(key string) CallOption {
	return func(r *request) { r.asks().orderKey = &key }
}

// WithLimitKey makes the task share the limits of keys that its type has in the config (key_concurrency,
// key_rate) with the tasks of this type and key; 1 to 255 bytes of UTF-8.
func WithLimitKey(key string) CallOption {
	return func(r *request) { r.asks().limitKey = &key }
}

// WithGroup lets the groups of a type take turns, so that a million tasks of one tenant delay another's
// first by one turn. The name has 1 to 255 bytes of UTF-8; tasks without one are a group.
func WithGroup(name string) CallOption {
	return func(r *request) { r.asks().group = &name }
}

// WithCost is how many units a run takes from the rates of its type, from 0 to 10^9; 1 without it. See
// TaskInfo.SetCost.
func WithCost(units int) CallOption {
	return func(r *request) { r.asks().cost = &units }
}

// checkKey is for names that others have to find again.
func checkKey(name, text string) error {
	if text == "" || len(text) > wire.MaxName || !utf8.ValidString(text) {
		return invalid(name, "%s is %.40q, and has to be UTF-8 of 1 to %d bytes", name, text, wire.MaxName)
	}
	return nil
}

func checkCost(units int) error {
	if units < 0 || units > mostCost {
		return invalid("cost", "cost is %d, and has to be from 0 to %d", units, mostCost)
	}
	return nil
}

func (t *terms) checkSharing() error {
	for _, key := range [...]struct {
		name string
		text *string
	}{{"order_key", t.orderKey}, {"limit_key", t.limitKey}, {"group", t.group}} {
		if key.text == nil {
			continue
		}
		if err := checkKey(key.name, *key.text); err != nil {
			return err
		}
	}
	if t.cost == nil {
		return nil
	}
	return checkCost(*t.cost)
}

// SetCost says how many units of its type's rates the run really took, from 0 to 10^9. The broker takes
// the difference to the task's WithCost, or gives it back, when the run ends, however it does. What was
// said last counts. Any goroutine may call it; once the run is over it does nothing.
func (t TaskInfo) SetCost(units int) error {
	if err := checkCost(units); err != nil {
		return err
	}
	if t.goesOn() {
		t.run.cost.Store(int64(units) + 1)
	}
	return nil
}

// PauseType keeps all tasks of a type from starting for so long, up to 100 years, wherever their workers
// are; what runs goes on. 0 ends the pause. It says whether there was anything to do. A type that the
// broker does not know is ErrInvalid.
func (c *Client) PauseType(ctx context.Context, taskType string, d time.Duration) (done bool, err error) {
	if err := checkDuration("the pause", &d, 0); err != nil {
		return false, err
	}
	return c.control(ctx, "pause", taskType, map[string]any{"type": taskType, "ms": millis(d)})
}

// Unblock lets the next task of an order key begin that a dead or failed one blocks, as they do in a type
// whose config says order_on_dead: block. It says whether the key was blocked. A type that the broker
// does not know is ErrInvalid.
func (c *Client) Unblock(ctx context.Context, taskType, key string) (done bool, err error) {
	if err := checkKey("order_key", key); err != nil {
		return false, err
	}
	return c.control(ctx, "unblock", taskType, map[string]any{"type": taskType, "key": key})
}

func (c *Client) control(ctx context.Context, what, taskType string, arguments map[string]any) (bool, error) {
	if err := checkKey("type", taskType); err != nil {
		return false, err
	}
	var answer struct{ Done bool }
	err := c.askFor(ctx, &request{kind: wire.Control, name: what}, arguments, &answer)
	return answer.Done, err
}
