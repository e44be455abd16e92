package tusk

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

func TestWhatATaskAsksForIsSent(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	l := b.accept(5, nil)
	ask := func(options ...CallOption) map[int64]any {
		t.Helper()
		if _, err := c.Submit(ctx, "f", 1, append(options, WithTimeout(NoTimeout))...); err != nil {
			t.Fatal(err)
		}
		l.expect(wire.Submit)
		return l.sent(6)
	}
	got := ask(WithPriority(PriorityCritical), WithDelay(time.Hour), WithDeadline(2*time.Hour),
		WithRunTimeout(1500*time.Microsecond), WithHeartbeatTimeout(time.Second), WithAttempts(4),
		WithBackoff(Backoff{First: time.Second, Most: time.Minute}), WithNoRetryOn("*fs.PathError", "ValueError"),
		OnProgress(func(Progress) {}), OnLog(func(LogLine) {}))
	for key, least := range map[int64]int64{wire.Delay: 3_600_000, wire.Deadline: 7_200_000} {
		if ms, _ := got[key].(int64); ms > least || ms < least-10_000 {
			t.Errorf("attribute %d is %v", key, got[key])
		}
		delete(got, key)
	}
	want := map[int64]any{wire.Priority: int64(20), wire.RunTimeout: int64(2), wire.HeartbeatTimeout: int64(1000),
		wire.Attempts: int64(4), wire.Backoff: []any{int64(1000), int64(60_000), 2.0, 0.25},
		wire.NoRetryOn: []any{"*fs.PathError", "ValueError"}, wire.Follow: int64(3)}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("sent %v\nwant %v", got, want)
	}
	for _, c := range []struct {
		options []CallOption
		want    map[int64]any
	}{
		{nil, map[int64]any{}},
		{[]CallOption{WithDelay(0), WithPriority(-100)}, map[int64]any{wire.Delay: int64(0), wire.Priority: int64(-100)}},
		{[]CallOption{WithPriority(PriorityNormal)}, map[int64]any{wire.Priority: int64(0)}},
		{[]CallOption{WithNotBefore(time.Now().Add(-time.Hour))}, map[int64]any{wire.Delay: int64(0)}},
		{[]CallOption{WithDeadline(0), WithAttempts(1000)}, map[int64]any{wire.Deadline: int64(0), wire.Attempts: int64(1000)}},
		{[]CallOption{WithBackoff(Backoff{Factor: 100, Jitter: NoJitter})}, map[int64]any{wire.Backoff: []any{int64(0), int64(0), 100.0, 0.0}}},
		{[]CallOption{WithRunTimeout(longest)}, map[int64]any{wire.RunTimeout: int64(3_153_600_000_000)}},
		{[]CallOption{OnLog(func(LogLine) {})}, map[int64]any{wire.Follow: int64(2)}},
		{[]CallOption{WithRetention(time.Hour)}, map[int64]any{wire.Retention: int64(3_600_000)}},
		{[]CallOption{WithUnique("k"), WithUniquePolicy(UniqueJoin)}, map[int64]any{wire.Unique: "k"}},
		{[]CallOption{WithUnique(strings.Repeat("k", 255)), WithUniquePolicy(UniqueFollowUp), WithUniqueFor(1500 * time.Microsecond)},
			map[int64]any{wire.Unique: strings.Repeat("k", 255), wire.UniquePolicy: int64(4), wire.UniqueFor: int64(2)}},
		{[]CallOption{WithOrderKey("account 7"), WithLimitKey("h\u00f6st"), WithGroup("t"), WithCost(mostCost)},
			map[int64]any{wire.OrderKey: "account 7", wire.LimitKey: "h\u00f6st", wire.Group: "t", wire.Cost: int64(1_000_000_000)}},
		{[]CallOption{WithLabels(map[string]string{"customer": "acme", "build": strings.Repeat("7", 255)}), WithStickyKey("k")},
			map[int64]any{wire.Labels: map[string]any{"customer": "acme", "build": strings.Repeat("7", 255)}, wire.StickyKey: "k"}},
		{[]CallOption{WithRequires(map[string]any{"region": "eu", "gb": uint8(4)}), WithPrefers(map[string]any{"disk": "ssd"}),
			WithConsumes(map[string]int{"gpu": wire.MaxAmount})},
			map[int64]any{wire.Needs: map[string]any{"requires": map[string]any{"region": "eu", "gb": int64(4)},
				"prefers": map[string]any{"disk": "ssd"}, "consumes": map[string]any{"gpu": int64(wire.MaxAmount)}}}},
		{[]CallOption{WithRequires(nil)}, map[int64]any{wire.Needs: map[string]any{"requires": map[string]any{}}}},
		{[]CallOption{WithLabels(nil)}, map[int64]any{}},
		{[]CallOption{WithOrderKey(strings.Repeat("k", 255)), WithCost(0)},
			map[int64]any{wire.OrderKey: strings.Repeat("k", 255), wire.Cost: int64(0)}},
	} {
		if got := ask(c.options...); !reflect.DeepEqual(got, c.want) {
			t.Errorf("sent %v, want %v", got, c.want)
		}
	}
	at := time.Now().Add(time.Hour)
	if ms, _ := ask(WithNotBefore(at))[wire.Delay].(int64); ms > 3_600_000 || ms < 3_590_000 {
		t.Errorf("a point in an hour is a delay of %v ms", ms)
	}
}

func TestWhatIsOutOfRangeIsAnErrorThatNamesTheOptionAndTheBound(t *testing.T) {
	c := newTestClient(t, newBroker(t), Options{})
	far := time.Now().Add(longest).Add(time.Hour)
	for says, options := range map[string][]CallOption{
		"delay is -1ns, and has to be from 0s to 100 years":              {WithDelay(-1)},
		"delay is 876001h0m0s, and has":                                  {WithDelay(longest + time.Hour)},
		"not_before is ":                                                 {WithNotBefore(far)},
		"delay and not_before":                                           {WithDelay(1), WithNotBefore(far)},
		"deadline is -1s":                                                {WithDeadline(-time.Second)},
		"run_timeout is 0s, and has to be from 1ms to 100 years":         {WithRunTimeout(0)},
		"heartbeat_timeout is 999µs":                                     {WithHeartbeatTimeout(999 * time.Microsecond)},
		"attempts is 0, and has to be from 1 to 1000":                    {WithAttempts(0)},
		"attempts is 1001":                                               {WithAttempts(1001)},
		"priority is 101, and has to be from -100 to 100":                {WithPriority(101)},
		"priority is -101":                                               {WithPriority(-101)},
		"retention is -1ns, and has to be from 0s to 100 years":          {WithRetention(-1)},
		"unique_for is 876001h0m0s, and has":                             {WithUnique("k"), WithUniqueFor(longest + time.Hour)},
		"unique_for says how long":                                       {WithUniqueFor(1)},
		"unique_policy says what":                                        {WithUniquePolicy(UniqueRefuse)},
		"unique_policy 5 does not exist; the names are join, refuse":     {WithUnique("k"), WithUniquePolicy(5)},
		"unique_policy -1 does not exist":                                {WithUnique("k"), WithUniquePolicy(-1)},
		"unique is \"\", and has to be UTF-8 of 1 to 255 bytes":          {WithUnique("")},
		"unique is \"xx":                                                 {WithUnique(strings.Repeat("x", 256))},
		"unique is \"\\xff\"":                                            {WithUnique("\xff")},
		"order_key is \"\", and has to be UTF-8 of 1 to 255 bytes":       {WithOrderKey("")},
		"limit_key is \"xx":                                              {WithLimitKey(strings.Repeat("x", 256))},
		"group is \"\\xff\"":                                             {WithGroup("\xff")},
		"cost is -1, and has to be from 0 to 1000000000":                 {WithCost(-1)},
		"cost is 1000000001":                                             {WithCost(mostCost + 1)},
		"sticky_key is \"\", and has to be UTF-8 of 1 to 255 bytes":      {WithStickyKey("")},
		"labels has 17 entries, and may have 16":                         {WithLabels(texts(17))},
		"labels has \"\", and names and texts have to be":                {WithLabels(map[string]string{"": "x"})},
		"labels: a has \"\", and names":                                  {WithLabels(map[string]string{"a": ""})},
		"labels: a has \"\\xff\"":                                        {WithLabels(map[string]string{"a": "\xff"})},
		"labels has \"xx":                                                {WithLabels(map[string]string{strings.Repeat("x", 256): "x"})},
		"requires has 17 entries, and may have 16":                       {WithRequires(labelsOf(texts(17)))},
		"requires: \"a\" is 1.5, and has to be a text of 1 to 255":       {WithRequires(map[string]any{"a": 1.5})},
		"requires: \"a\" is -1, and has to be":                           {WithRequires(map[string]any{"a": -1})},
		"requires: \"a\" is 1000000001, and has":                         {WithRequires(map[string]any{"a": 1_000_000_001})},
		"prefers: \"a\" is <nil>, and has":                               {WithPrefers(map[string]any{"a": nil})},
		"prefers: \"a\" is 18446744073709551615, and has":                {WithPrefers(map[string]any{"a": uint64(math.MaxUint64)})},
		"prefers: a has \"xx":                                            {WithPrefers(map[string]any{"a": strings.Repeat("x", 256)})},
		"consumes: \"a\" is 0, and has to be a whole number from 1":      {WithConsumes(map[string]int{"a": 0})},
		"consumes has \"\", and names":                                   {WithConsumes(map[string]int{"": 1})},
		"backoff.First is -1s":                                           {WithBackoff(Backoff{First: -time.Second})},
		"backoff.Most is ":                                               {WithBackoff(Backoff{Most: longest + 1})},
		"backoff.Factor is 0.5, and has to be from 1 to 100":             {WithBackoff(Backoff{Factor: 0.5})},
		"backoff.Factor is NaN":                                          {WithBackoff(Backoff{Factor: math.NaN()})},
		"backoff.Jitter is 1.5, and has to be from 0 to 1, or NoJitter":  {WithBackoff(Backoff{Jitter: 1.5})},
		"no_retry_on has 33 types, and may have 32":                      {WithNoRetryOn(make([]string, 33)...)},
		"no_retry_on has a name that is not UTF-8 of at most 255 bytes:": {WithNoRetryOn("x", strings.Repeat("x", 256))},
	} {
		_, err := c.Submit(ctx, "f", 1, options...)
		var e *Error
		if !errors.Is(err, ErrInvalid) || !errors.As(err, &e) || !strings.Contains(e.Message, says) || e.Details["field"] == "" {
			t.Errorf("%v, and not %q", err, says)
		}
	}
	if _, err := ParsePriority("urgent"); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "low, normal, high, critical") {
		t.Error(err)
	}
	for _, p := range priorities {
		if found, err := ParsePriority(p.name); err != nil || found != p.value || found.String() != p.name {
			t.Error(p, found, err)
		}
	}
	for policy, name := range policyNames {
		if found, err := ParseUniquePolicy(name); err != nil || int(found) != policy || found.String() != name {
			t.Error(name, found, err)
		}
	}
	if _, err := ParseUniquePolicy("Join"); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "join, refuse, replace, debounce, follow_up") {
		t.Error(err)
	}
	if text := UniquePolicy(-1).String(); text != "policy -1" {
		t.Error(text)
	}
	if text := Priority(7).String(); text != "7" {
		t.Error(text)
	}
	if _, err := c.Push(ctx, "clean", 1, WithDelay(time.Second)); !errors.Is(err, ErrInvalid) {
		t.Error("an item with a delay:", err)
	}
	if err := c.Publish(ctx, "prices", 1, WithPriority(1)); !errors.Is(err, ErrInvalid) {
		t.Error("an event with a priority:", err)
	}
	if _, err := c.Enqueue(ctx, "f", 1, OnLog(func(LogLine) {})); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "Enqueue") {
		t.Error("nobody waits, but follows:", err)
	}
}

// texts makes so many labels.
func texts(n int) map[string]string {
	labels := map[string]string{}
	for i := range n {
		labels[strings.Repeat("n", i+1)] = "x"
	}
	return labels
}

func TestATaskThatIsSentLateHasWhatIsLeftOfItsTimes(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	options := []CallOption{WithDelay(20 * time.Millisecond), WithDeadline(time.Hour), WithRunTimeout(time.Minute)}
	if _, err := c.Submit(ctx, "f", 1, options...); err != nil {
		t.Fatal(err)
	}
	time.Sleep(30 * time.Millisecond) // no broker yet
	check := func(l *link, resent bool) {
		t.Helper()
		l.expect(wire.Submit)
		got := l.sent(6)
		left, _ := got[wire.Deadline].(int64)
		if got[wire.Delay] != int64(0) || left > 3_600_000-30 || left < 3_500_000 || got[wire.RunTimeout] != int64(60_000) || (got[wire.Resent] != nil) != resent {
			t.Fatalf("sent %v", got)
		}
	}
	l := b.accept(5, nil)
	check(l, false)
	first := l.last
	b.close()
	b.open()
	again := b.hello()
	again.welcome(5, true, 0, nil) // the same session: the same packet
	again.expect(wire.Submit)
	if string(again.last) != string(first) {
		t.Fatalf("a resumed session sends %x\nand not %x", again.last, first)
	}
	b.close()
	b.open()
	check(b.accept(6, nil), true)
}
