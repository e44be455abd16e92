package tusk

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/tuskd/tuskd/workers/go/internal/lz4frame"
	"github.com/tuskd/tuskd/workers/go/internal/value"
	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// compressFrom is the size from which bodies are compressed where the broker wants them to be.
const compressFrom = 64

// writing is how the broker wants the bodies for one type, stage or topic; nil: as always.
type writing struct {
	Codec    *int64 `msgpack:"codec"`
	Compress *bool  `msgpack:"compress"`
}

// writing is what the broker said of bodies in a request of this kind.
func (w *welcome) writing(kind wire.Kind, name string) writing {
	switch kind {
	case wire.Submit:
		return w.Messages.Types[name]
	case wire.Push:
		return w.Messages.Stages[name]
	case wire.Publish:
		return w.Messages.Topics[name]
	}
	return writing{}
}

// compressesFrom is the size from which bodies are compressed.
func (w *welcome) compressesFrom(told writing) int64 {
	switch {
	case told.Compress != nil && *told.Compress:
		return compressFrom
	case told.Compress != nil || w.Compression != "lz4":
		return math.MaxInt64
	}
	return max(w.CompressionThreshold, 1)
}

// writeFor makes of msgpack the body of a request of this kind.
func writeFor(text []byte, kind wire.Kind, name string, w *welcome) (b body, err error) {
	told := w.writing(kind, name)
	if told.Codec != nil && *told.Codec != 0 {
		if text, err = inCodec(*told.Codec, text, name); err != nil {
			return body{}, newError(ErrBody, TaskID{}, "the value cannot be written: %v", err)
		}
		b.codec = *told.Codec
	}
	if err := checkSize(text, w); err != nil {
		return body{}, err
	}
	b.bytes = text
	if int64(len(text)) >= w.compressesFrom(told) {
		if frame := lz4frame.Compress(text); frame != nil {
			b.bytes, b.compressed = frame, true
		}
	}
	return b, nil
}

// inCodec writes a value of msgpack in another codec; name is the type, stage or topic that it is for.
func inCodec(codec int64, text []byte, name string) ([]byte, error) {
	r := wire.NewReader(text)
	switch codec {
	case wire.CodecJSON:
		return toJSON(nil, &r)
	case wire.CodecBytes:
		if r.Peek() != wire.Bytes {
			return nil, errors.New("bodies of " + strconv.Quote(name) +
				" are plain bytes, such as a message of protobuf: expected a []byte")
		}
		return append([]byte{}, r.Bytes()...), nil
	}
	return nil, errors.New("bodies of " + strconv.Quote(name) + " are of codec " +
		strconv.FormatInt(codec, 10) + ", which is unknown here")
}

// toJSON writes the next value as JSON. What it reads was written by this SDK, so it is whole.
func toJSON(b []byte, r *wire.Reader) (_ []byte, err error) {
	switch r.Peek() {
	case wire.Bool:
		return strconv.AppendBool(b, r.Bool()), nil
	case wire.Int:
		bits, negative := r.Integer()
		if negative {
			return strconv.AppendInt(b, int64(bits), 10), nil
		}
		return strconv.AppendUint(b, bits, 10), nil
	case wire.Float:
		return floatToJSON(b, r.Float())
	case wire.Text:
		return textToJSON(b, string(r.RawText())), nil
	case wire.List:
		n := r.List()
		b = append(b, '[')
		for i := range n {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = toJSON(b, r); err != nil {
				return b, err
			}
		}
		return append(b, ']'), nil
	case wire.Map:
		n := r.Map()
		b = append(b, '{')
		for i := range n {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(textToJSON(b, string(r.RawText())), ':')
			if b, err = toJSON(b, r); err != nil {
				return b, err
			}
		}
		return append(b, '}'), nil
	case wire.Bytes, wire.Ext:
		return b, errors.New("bytes and timestamps cannot be sent as JSON")
	}
	r.Nil()
	return append(b, "null"...), nil
}

func textToJSON(b []byte, text string) []byte {
	written, _ := json.Marshal(text) // a string has no error
	return append(b, written...)
}

// floatToJSON keeps a whole float apart from an integer.
func floatToJSON(b []byte, f float64) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return b, errors.New("NaN and infinities cannot be sent as JSON")
	}
	text := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return append(b, text...), nil
}

// writeAgain writes the body of a request that was made before the broker said how.
func (c *Client) writeAgain(r *request) error {
	r.early = false
	w := c.session.terms()
	if told := w.writing(r.kind, r.name); told == (writing{}) {
		return nil
	}
	written, err := writeFor(r.body.bytes, r.kind, r.name, w)
	if err != nil {
		var own *Error
		if errors.As(err, &own) {
			own.ID, own.URL = r.id, c.options.URL
		}
		return err
	}
	c.queued.Add(-r.cost())
	r.body = written
	c.queued.Add(r.cost())
	return nil
}

// bodyOf writes the value of a request.
func (c *Client) bodyOf(r *request, v any) (err error) {
	text, err := value.Append(nil, v)
	if err != nil {
		return newError(ErrBody, TaskID{}, "the value cannot be written: %v", err)
	}
	w := c.session.terms()
	r.early = w.Session == 0
	r.body, err = writeFor(text, r.kind, r.name, w)
	return err
}
