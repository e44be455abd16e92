package tusk

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/tuskd/tuskd/workers/go/internal/value"
	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// This is the worker's side of the session's goroutine, which alone calls it.

// slabSize is how many runs are made with one allocation.
const slabSize = 32

// moved is the reason of a cancel when another worker gets the run.
const moved = "moved"

// handlesAtOnce bounds one returned record, far below the limit of a packet.
const handlesAtOnce = 10_000

func (w *Worker) take(r *wire.Record, now time.Time) {
	switch r.Kind {
	case wire.Task:
		w.begin(r, w.types[string(r.Name)], now)
	case wire.Item:
		w.begin(r, w.stages[string(r.Name)], now)
	case wire.Cancel:
		w.cancel(w.runs[r.Ref], cancelReason(r))
	case wire.Recall:
		w.recall(r)
	case wire.Credit:
		if sends := w.runs[r.Ref]; sends != nil && sends.given != nil && sends.given.stream != nil {
			sends.given.stream.add(r.Count)
		}
	case wire.Resume:
		if suspended := w.runs[r.Ref]; suspended != nil {
			suspended.resume(false, nil)
		}
	case wire.Drain:
		w.mu.Lock()
		w.asked = firstOf(w.asked, "the broker drains it: "+string(r.Name))
		w.mu.Unlock()
	case wire.Error:
		if suspended := w.runs[r.Ref]; suspended != nil && suspended.refusedToSuspend(r, w.options.URL) {
			return
		}
		// unknown_handle: the broker gave the run to another and has counted this.
		if string(r.Name) != "unknown_handle" {
			w.session.notice(now, w.options.URL+" says "+string(r.Name)+": "+string(r.Text))
		}
	}
}

// begin takes a run to where its handler's goroutine finds it.
func (w *Worker) begin(record *wire.Record, h *handler, now time.Time) {
	if len(w.slab) == 0 {
		w.slab = make([]run, slabSize)
	}
	r := &w.slab[0]
	w.slab = w.slab[1:]
	r.handle, r.handler, r.in = record.Ref, h, received(record)
	r.info = TaskInfo{ID: record.ID, Attempt: int(record.Attempt), Item: record.Kind == wire.Item}
	r.info.run = r
	r.ctx.values, r.ctx.info = w.values, &r.info
	w.runs[r.handle] = r
	if h == nil {
		r.info.Type = string(record.Name)
		w.refuse(r, newError(ErrUnsupported, TaskID{}, "this worker has no handler %q", record.Name))
		return
	}
	r.info.Type = h.name
	if a := record.Attrs; a != nil {
		r.info.Trace, r.info.Baggage = string(a.Trace), string(a.Baggage)
		if a.HasTimeLeft || a.Checkpoint != nil || a.Labels != nil || a.Stream != 0 {
			r.given = &given{checkpoint: slices.Clone(a.Checkpoint), labels: slices.Clone(a.Labels)}
			if a.Stream != 0 {
				r.given.stream = &outflow{credit: a.Stream}
			}
			if a.HasTimeLeft {
				r.given.due = now.Add(duration(a.TimeLeft))
			}
		}
		if err := unreadable(record); err != nil {
			w.refuse(r, err)
			return
		}
	}
	switch {
	case w.stopping:
		if r.take(runEnded) {
			w.giveBack(0, []int64{r.handle})
		}
	case h.runs != nil:
		w.collect(r, now)
	default:
		w.units = append(w.units, unit{handler: h, run: r})
	}
}

func (w *Worker) refuse(r *run, err error) {
	r.take(runEnded)
	w.ready.push(failed(r, NoRetry(err)))
}

// collect adds an item to its batch.
func (w *Worker) collect(r *run, now time.Time) {
	b := w.batches[r.handler]
	if b == nil {
		b = &collected{}
		w.batches[r.handler] = b
	}
	if len(b.runs) == 0 {
		b.due = now.Add(r.handler.batch.Wait)
	}
	b.runs = append(b.runs, r)
	if r.info.Attempt > 1 {
		// The broker runs what may have killed its worker one at a time: nothing joins it.
		b.due = now
	}
	if len(b.runs) >= r.handler.batch.Size {
		w.dispatch(r.handler, b)
	}
}

func (w *Worker) dispatch(h *handler, b *collected) {
	w.units = append(w.units, unit{handler: h, batch: b.runs})
	b.runs = nil
}

// cancelReason is why a run is to stop; who says nothing means what there was before there were reasons.
func cancelReason(r *wire.Record) string {
	if r.Attrs == nil || len(r.Attrs.Reason) == 0 {
		return "cancelled"
	}
	return string(r.Attrs.Reason)
}

func (w *Worker) cancel(r *run, reason string) {
	if r == nil {
		return
	}
	if r.take(runEnded) {
		w.ready.push(result{run: r, state: wire.Cancelled})
		w.forget(r)
		return
	}
	r.ctx.cancel(reason)
}

// forget takes a run that did not start out of the batch that it may wait for.
func (w *Worker) forget(r *run) {
	if r.handler == nil || r.handler.runs == nil {
		return
	}
	if b := w.batches[r.handler]; b != nil {
		b.runs = slices.DeleteFunc(b.runs, func(other *run) bool { return other == r })
	}
}

func (w *Worker) recall(record *wire.Record) {
	var back []int64
	for _, handle := range wire.Handles(record.Raw) {
		if r := w.runs[handle]; r != nil && r.take(runEnded) {
			w.forget(r)
			back = append(back, handle)
		}
	}
	w.giveBack(record.Ref, back)
}

func (w *Worker) giveBack(recall int64, handles []int64) {
	for _, handle := range handles {
		delete(w.runs, handle)
	}
	w.returns.push(returned{recall, handles})
}

func (w *Worker) tick(now time.Time) (next time.Time) {
	lookAt := func(due time.Time) {
		if !due.IsZero() && (next.IsZero() || due.Before(next)) {
			next = due
		}
	}
	w.mu.Lock()
	w.results, w.fresh = w.fresh[:0], w.results
	asked, hurry := w.asked, w.hurry
	w.mu.Unlock()
	w.ready.push(w.fresh...)
	clear(w.fresh)
	for h, b := range w.batches {
		if len(b.runs) > 0 && !now.Before(b.due) {
			w.dispatch(h, b)
		} else if len(b.runs) > 0 {
			lookAt(b.due)
		}
	}
	if len(w.units) > 0 {
		w.executor.add(w.units)
		clear(w.units)
		w.units = w.units[:0]
	}
	lookAt(w.executor.stalled(now))
	if asked != "" {
		lookAt(w.stop(now, hurry))
	} else if w.supervised && w.session.phase != up {
		grace := time.Duration(w.session.terms().AdoptGrace) * time.Millisecond
		if away := now.Sub(w.session.lostAt); away > grace {
			fmt.Fprintf(os.Stderr, "tusk: no broker at %s for %v; this worker ends\n", w.options.URL, away.Round(time.Millisecond))
			w.force()
			w.session.finish(false, 0)
		} else {
			lookAt(w.session.lostAt.Add(grace + time.Millisecond))
		}
	}
	return next
}

// stop carries the stopping on, and says when to look again.
func (w *Worker) stop(now time.Time, hurry bool) time.Time {
	if !w.stopping {
		w.stopping = true
		w.stopBy = now.Add(w.options.StopWithin)
		w.giveBackWaiting()
	}
	if hurry && now.Before(w.stopBy) {
		w.stopBy = now
	}
	if now.Before(w.stopBy) && w.busy() {
		return w.stopBy
	}
	if w.finishFrom.IsZero() {
		w.finishFrom = now
	}
	s := w.session
	// What is not acknowledged when this process ends runs again elsewhere: a broker that is slow has the
	// whole of StopWithin, one that is not there a second.
	last := latest(w.stopBy, w.finishFrom.Add(closeWithin))
	if s.phase != up {
		last = earliest(last, latest(w.finishFrom, s.lostAt).Add(closeWithin))
	}
	arrived := w.ready.len()+w.returns.len() == 0 && s.open == nil && len(s.packets) == 0
	if !arrived && now.Before(last) {
		return last
	}
	if n := len(w.runs); n > 0 {
		fmt.Fprintf(os.Stderr, "tusk: stopped with %d runs that had not ended; the broker gives them to others\n", n)
		for _, r := range w.runs {
			r.ctx.cancel(moved)
		}
	}
	w.force()
	s.finish(true, closeWithin)
	return time.Time{}
}

// busy says whether handlers run.
func (w *Worker) busy() bool {
	for _, r := range w.runs {
		if r.status.Load() != runEnded {
			return true
		}
	}
	return false
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func (w *Worker) giveBackWaiting() {
	var back []int64
	for handle, r := range w.runs {
		if r.take(runEnded) {
			back = append(back, handle)
		}
	}
	clear(w.batches)
	slices.Sort(back)
	for part := range slices.Chunk(back, handlesAtOnce) {
		w.giveBack(0, part)
	}
}

func (w *Worker) flush(time.Time) {
	s := w.session
	for w.returns.len() > 0 && s.room(0) {
		r := w.returns.pop()
		writeReturned(s.put(16+9*len(r.handles), nil), r)
	}
	if !w.flushNotices() {
		return
	}
	for w.ready.len() > 0 && s.room(len(w.ready.first().body.bytes)) {
		answer := w.ready.pop()
		if r := answer.run; !r.dropped {
			delete(w.runs, r.handle)
			w.write(answer)
		}
	}
}

func writeReturned(p *packet, r returned) {
	p.list(3, wire.Returned, r.recall)
	p.head = wire.AppendList(p.head, len(r.handles))
	for _, handle := range r.handles {
		p.head = wire.AppendUint(p.head, uint64(handle))
	}
}

func (w *Worker) write(a result) {
	// Written under the terms of an earlier session, it may be too large for this one.
	if size, limit := int64(len(a.body.bytes)), w.session.terms().Limits.Body; size > limit {
		a = failed(a.run, NoRetry(newError(ErrTooLarge, TaskID{}, "the result has %d bytes, the limit `body` is %d", size, limit)))
	}
	if a.state == deferred {
		p := w.session.put(24, nil)
		p.list(3, wire.Defer, a.run.handle)
		p.head = wire.AppendUint(p.head, a.after)
		p.results = append(p.results, a)
		return
	}
	var wrong []byte
	attributes := pairs{}
	if a.body.compressed {
		attributes.add(wire.Compression, 1)
	}
	if a.noRetry {
		attributes.add(wire.NoRetry, -1)
	}
	if cost := a.run.cost.Load(); cost > 0 {
		attributes.add(wire.Cost, cost-1)
	}
	n := attributes.n
	if a.failure != nil {
		n++
		var err error
		if wrong, err = value.Append(nil, a.failure); err != nil {
			wrong = wire.AppendMap(nil, 0) // cannot be: all is text of UTF-8
		}
	}
	p := w.session.put(40+len(wrong), a.body.bytes)
	switch {
	case n > 0:
		p.list(5, wire.Result, a.run.handle)
	case a.body.bytes != nil:
		p.list(4, wire.Result, a.run.handle)
	default:
		p.list(3, wire.Result, a.run.handle)
	}
	p.head = wire.AppendUint(p.head, uint64(a.state))
	if n > 0 || a.body.bytes != nil {
		p.body(a.body.bytes)
	}
	if n > 0 {
		p.head = wire.AppendMap(p.head, n)
		if wrong != nil {
			p.head = wire.AppendUint(p.head, wire.ErrorMap)
			p.head = append(p.head, wrong...)
		}
		p.head = attributes.pairsOnly(p.head)
	}
	p.results = append(p.results, a)
}

// claims are the runs that this worker holds, and those whose results have not been acknowledged. Of
// two runs of one task the later counts. What would make hello larger than a packet may be is left
// out, the answered ones first: their tasks run again.
func (w *Worker) claims() []claim {
	place := map[TaskID]int{}
	all := []claim{}
	left := w.session.terms().Limits.Frame - 4096
	add := func(r *run) {
		c := claim{r.info.ID, int64(r.info.Attempt), r.info.Type, r.info.Item}
		at, twice := place[c.id]
		switch {
		case r.dropped:
		case twice && all[at].attempt < c.attempt:
			all[at] = c
		case !twice && left > 0:
			left -= int64(len(c.name)) + 40
			place[c.id] = len(all)
			all = append(all, c)
		}
	}
	for _, r := range w.runs {
		add(r)
	}
	for _, p := range w.session.packets {
		for _, a := range p.results {
			add(a.run)
		}
	}
	return all
}

func (w *Worker) welcomed(terms *welcome, lost []*packet) {
	if !w.isThere {
		w.isThere = true
		close(w.there)
	}
	if lost == nil {
		return
	}
	handles := map[TaskID]int64{}
	for _, answer := range terms.Claims {
		if len(answer) < 2 {
			continue
		}
		id, _ := answer[0].([]byte)
		handle, ok := answer[1].(int64)
		if ok && len(id) == 16 {
			handles[TaskID(id)] = handle
		}
	}
	old := w.runs
	w.runs = make(map[int64]*run, len(old))
	w.returns.all()
	adopt := func(r *run) bool {
		handle, ok := handles[r.info.ID]
		if ok {
			delete(handles, r.info.ID)
			r.handle = handle
			w.runs[handle] = r
			w.keepAgain(r)
			r.suspendAgain()
		} else if !r.dropped {
			r.dropped = true
			r.take(runEnded)
			w.forget(r)
			r.ctx.cancel(moved)
		}
		return ok
	}
	held := make([]*run, 0, len(old))
	for _, r := range old {
		held = append(held, r)
	}
	slices.SortFunc(held, func(a, b *run) int { return cmp.Compare(b.info.Attempt, a.info.Attempt) })
	for _, r := range held {
		adopt(r)
	}
	for _, p := range lost {
		for _, answer := range p.results {
			if adopt(answer.run) {
				w.ready.push(answer)
			}
		}
	}
	if w.stopping {
		w.giveBackWaiting()
	}
}

// refusedPacket answers the runs of a packet that the broker could not read again, as failures. When it
// holds nothing but such answers they are not the cure.
func (w *Worker) refusedPacket(number int64, err *Error) bool {
	p := w.session.packet(number)
	if p == nil || !slices.ContainsFunc(p.results, func(a result) bool { return !a.run.refused }) {
		return false
	}
	for _, a := range p.results {
		a.run.refused = true
		w.runs[a.run.handle] = a.run
		w.ready.push(failed(a.run, NoRetry(newError(ErrMalformed, TaskID{}, "the broker refused the packet with the result: %s", err.Message))))
	}
	p.results = nil
	return true
}

func (w *Worker) disconnected(time.Time) {}

func (w *Worker) leaving(string, time.Time) {}

// tooLarge makes the results of a packet on which connections end failures that fit.
func (w *Worker) tooLarge(p *packet, _ time.Time) {
	for i := range p.results {
		a := &p.results[i]
		if size := len(a.body.bytes); size >= wire.FrameBody {
			*a = failed(a.run, NoRetry(newError(ErrTooLarge, TaskID{}, "the connection ends whenever this result of %d bytes is sent", size)))
		}
	}
}
