package tusk

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// quick is how long the runs of a handler take at most, on average, to be run one behind the
	// other by as many goroutines as there are processors. Waking a goroutine for each would cost more
	// than the run.
	quick = 20 * time.Microsecond
	// stallAfter is how long runs of quick handlers may wait behind one that is not quick this time.
	stallAfter = time.Millisecond
)

// unit is what one goroutine runs at a time: a run, or a batch of them.
type unit struct {
	handler *handler
	run     *run
	batch   []*run
	slowly  bool // counted as slow
}

func (u *unit) slow() bool { return u.batch != nil || u.handler.took.Load() > int64(quick) }

// executor runs handlers in goroutines, at most limit at once. Runs of a handler that has proved quick
// wait in a queue for a few goroutines; all others get a goroutine each, at once.
type executor struct {
	limit        int
	terms        func() *welcome
	report       func([]result) // from any goroutine
	batchContext context.Context

	mu      sync.Mutex
	more    sync.Cond
	queue   fifoOf[unit]
	idle    int // goroutines that wait and have not been woken
	total   int // goroutines
	slow    int // of them, those that run what is not known to be quick
	stopped bool
	taken   int64 // units taken from the queue

	waiting atomic.Int64 // units in the queue
	seen    int64        // taken, when stalled last looked
	look    time.Time    // when it looks again
}

func newExecutor(limit int, terms func() *welcome, report func([]result), batchContext context.Context) *executor {
	x := &executor{limit: limit, terms: terms, report: report, batchContext: batchContext}
	x.more.L = &x.mu
	return x
}

// add queues units and wakes goroutines for them.
func (x *executor) add(units []unit) {
	slow := 0
	for i := range units {
		if units[i].slow() {
			slow++
		}
	}
	x.mu.Lock()
	x.queue.push(units...)
	x.waiting.Store(int64(x.queue.len()))
	quickly := runtime.GOMAXPROCS(0) - (x.total - x.idle - x.slow)
	x.wake(slow + max(0, min(quickly, len(units)-slow)))
	x.mu.Unlock()
}

// wake lets n more goroutines look at the queue, as far as the limit allows. mu is held.
func (x *executor) wake(n int) {
	for ; n > 0; n-- {
		switch {
		case x.idle > 0:
			x.idle--
			x.more.Signal()
		case x.total < x.limit:
			x.total++
			go x.work()
		default:
			return
		}
	}
}

// lend lets one more run while another waits for its children.
func (x *executor) lend() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.limit++
	if x.queue.len() > 0 {
		x.wake(1)
	}
}

// takeBack undoes lend. A goroutine that there is one too many of ends when it is idle.
func (x *executor) takeBack() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.limit--
	if x.total > x.limit && x.idle > 0 {
		x.idle--
		x.more.Signal()
	}
}

// stalled wakes goroutines for what waits behind a quick handler that is not quick this time, and says
// when to look again. For the session's goroutine.
func (x *executor) stalled(now time.Time) time.Time {
	if x.waiting.Load() == 0 {
		x.look = time.Time{}
		return x.look
	}
	if x.look.IsZero() || !now.Before(x.look) {
		x.mu.Lock()
		if !x.look.IsZero() && x.taken == x.seen {
			x.wake(x.queue.len())
		}
		x.seen = x.taken
		x.mu.Unlock()
		x.look = now.Add(stallAfter)
	}
	return x.look
}

// stop lets goroutines end when the queue is empty.
func (x *executor) stop() {
	x.mu.Lock()
	x.stopped = true
	x.idle = 0
	x.more.Broadcast()
	x.mu.Unlock()
}

func (x *executor) work() {
	var a arena
	ended, wasSlow := false, false
	defer func() {
		if !ended { // a handler called runtime.Goexit: its goroutine is lost, not its slot
			x.mu.Lock()
			if wasSlow {
				x.slow--
			}
			x.mu.Unlock()
			go x.work()
		}
	}()
	one := make([]result, 1)
	for {
		u, ok := x.next(wasSlow)
		wasSlow = u.slowly
		if !ok {
			ended = true
			return
		}
		began := time.Now()
		if u.batch != nil {
			x.runBatch(u, &a)
			continue
		}
		if !u.run.take(runStarted) {
			continue // given back or cancelled meanwhile
		}
		x.runOne(u.run, one, &a)
		// One run that the system held up must not make a quick handler look slow for long.
		took := min(int64(time.Since(began)), int64(10*quick))
		average := u.handler.took.Load()
		u.handler.took.Store(average + (took-average)/8)
	}
}

// next waits for a unit; wasSlow says whether the last one was counted as slow.
func (x *executor) next(wasSlow bool) (unit, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if wasSlow {
		x.slow--
	}
	for x.queue.len() == 0 || x.total > x.limit {
		if x.stopped && x.queue.len() == 0 || x.total > x.limit {
			x.total--
			if x.queue.len() > 0 {
				x.wake(1) // for what this one was woken for
			}
			return unit{}, false
		}
		x.idle++
		x.more.Wait()
	}
	x.taken++
	u := x.queue.pop()
	x.waiting.Store(int64(x.queue.len()))
	if u.slowly = u.slow(); u.slowly {
		x.slow++
	}
	return u, true
}

// runOne reports in a deferred call, which runs even when the handler ends its goroutine.
func (x *executor) runOne(r *run, one []result, a *arena) {
	defer func() {
		if one[0].run == nil {
			recovered(&one[0], r)
		}
		r.end()
		x.report(one)
		one[0] = result{}
	}()
	one[0] = r.handler.run(r, x, a)
}

func (x *executor) runBatch(u unit, a *arena) {
	runs := u.batch[:0]
	for _, r := range u.batch {
		if r.take(runStarted) {
			runs = append(runs, r)
		}
	}
	if len(runs) == 0 {
		return
	}
	all := append([]*run(nil), runs...)
	var answers []result
	defer func() {
		if answers == nil { // the handler ended its goroutine
			for _, r := range all {
				var answer result
				recovered(&answer, r)
				answers = append(answers, answer)
			}
		}
		for _, r := range all {
			r.end()
		}
		x.report(answers)
	}()
	answers = u.handler.runs(runs, x, a)
}
