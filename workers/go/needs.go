package tusk

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// WithRequires runs the task only on a worker that has all of these labels (see WorkerOptions.Labels):
// with this text, or at least this amount, whether it is in use or not. At most 16 names of 1 to 255
// bytes; a value is a text of 1 to 255 bytes or a whole number from 0 to 10^9. What is given here takes
// the place of what the type's config requires, also where it is nothing. If no worker that serves the
// type could ever fit, the task is ErrUnserved.
//
//	tusk.WithRequires(map[string]any{"region": "eu", "memory_gb": 16})
func WithRequires(labels map[string]any) CallOption {
	return func(r *request) { r.asks().requires = asked(labels) }
}

// WithPrefers has, of the workers that are free, one that fits taken before others. Bounds as for
// WithRequires.
func WithPrefers(labels map[string]any) CallOption {
	return func(r *request) { r.asks().prefers = asked(labels) }
}

// WithConsumes runs the task only on a worker that has these amounts free; the run holds them until it
// has ended. At most 16 names of 1 to 255 bytes; an amount is from 1 to 10^9. It takes the place of what
// the type's config consumes.
//
//	tusk.WithConsumes(map[string]int{"gpu": 1})
func WithConsumes(amounts map[string]int) CallOption {
	return func(r *request) { r.asks().consumes = labelsOf(amounts) }
}

// WithStickyKey sends the tasks of one type with the same key, 1 to 255 bytes of UTF-8, to one worker for
// as long as it lives and serves the type, even while others are free.
func WithStickyKey(key string) CallOption {
	return func(r *request) { r.asks().stickyKey = &key }
}

// asked tells a map that asks for nothing from none.
func asked(labels map[string]any) map[string]any {
	if labels == nil {
		return map[string]any{}
	}
	return labels
}

func labelsOf[T any](some map[string]T) map[string]any {
	labels := make(map[string]any, len(some))
	for name, v := range some {
		labels[name] = v
	}
	return labels
}

// amount reads a number of any of Go's integer types.
func amount(v any) (n int64, ok bool) {
	switch v := reflect.ValueOf(v); {
	case v.CanInt():
		return v.Int(), true
	case v.CanUint():
		return int64(min(v.Uint(), wire.MaxAmount+1)), true
	}
	return 0, false
}

// appendLabels writes a map of names to texts or amounts of at least `least`, in the order of the names.
// option and most are for the error.
func appendLabels(b []byte, option string, labels map[string]any, most int, least int64, texts bool) ([]byte, error) {
	if len(labels) > most {
		return nil, invalid(option, "%s has %d entries, and may have %d", option, len(labels), most)
	}
	b = wire.AppendMap(b, len(labels))
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if err := checkLabel(option, name); err != nil {
			return nil, err
		}
		b = wire.AppendText(b, name)
		text, isText := labels[name].(string)
		if n, isAmount := amount(labels[name]); isAmount && n >= least && n <= wire.MaxAmount {
			b = wire.AppendUint(b, uint64(n))
			continue
		}
		switch {
		case !isText && texts:
			return nil, invalid(option, "%s: %q is %v, and has to be a text of 1 to %d bytes or a whole number from %d to 1000000000", option, name, labels[name], wire.MaxName, least)
		case !texts:
			return nil, invalid(option, "%s: %q is %v, and has to be a whole number from %d to 1000000000", option, name, labels[name], least)
		}
		if err := checkLabel(option+": "+name, text); err != nil {
			return nil, err
		}
		b = wire.AppendText(b, text)
	}
	return b, nil
}

// checkLabel is for the names and texts of labels.
func checkLabel(option, text string) error {
	if text == "" || len(text) > wire.MaxName || !utf8.ValidString(text) {
		field, _, _ := strings.Cut(option, ":")
		return invalid(field, "%s has %.40q, and names and texts have to be UTF-8 of 1 to %d bytes", option, text, wire.MaxName)
	}
	return nil
}

// writeNeeds checks labels and needs, and writes them once for all sendings.
func (t *terms) writeNeeds() (err error) {
	t.written, t.writtenN = nil, 0
	if len(t.labels) > 0 {
		t.written = wire.AppendUint(t.written, wire.Labels)
		if t.written, err = appendLabels(t.written, "labels", labelsOf(t.labels), wire.MaxLabels, 0, true); err != nil {
			return err
		}
		t.writtenN++
	}
	kinds := 0
	var needs []byte
	for _, kind := range [...]struct {
		name   string
		labels map[string]any
		least  int64
		texts  bool
	}{{"requires", t.requires, 0, true}, {"prefers", t.prefers, 0, true}, {"consumes", t.consumes, 1, false}} {
		if kind.labels == nil {
			continue
		}
		kinds++
		if needs, err = appendLabels(wire.AppendText(needs, kind.name), kind.name, kind.labels, wire.MaxNeeds, kind.least, kind.texts); err != nil {
			return err
		}
	}
	if kinds > 0 {
		t.written = append(wire.AppendMap(wire.AppendUint(t.written, wire.Needs), kinds), needs...)
		t.writtenN++
	}
	if t.stickyKey != nil {
		return checkKey("sticky_key", *t.stickyKey)
	}
	return nil
}

// workerLabels are those of the environment's TUSK_LABELS, a JSON object, and over them the program's
// own.
func workerLabels(own map[string]any) (map[string]any, error) {
	all := map[string]any{}
	if text := os.Getenv("TUSK_LABELS"); text != "" {
		in := json.NewDecoder(strings.NewReader(text))
		in.UseNumber()
		if err := in.Decode(&all); err != nil || all == nil || in.More() {
			return nil, invalid("labels", "TUSK_LABELS is %.80q, and has to be a JSON object of names and texts or whole numbers, such as {\"gpu\": 2}", text)
		}
		for name, v := range all {
			if number, ok := v.(json.Number); ok {
				n, err := number.Int64()
				if err != nil {
					return nil, invalid("labels", "TUSK_LABELS: %q is %v, and has to be a text or a whole number from 0 to 1000000000", name, v)
				}
				all[name] = n
			}
		}
	}
	maps.Copy(all, own)
	if _, err := appendLabels(nil, "labels", all, wire.MaxWorkerLabels, 0, true); err != nil {
		return nil, err
	}
	return all, nil
}
