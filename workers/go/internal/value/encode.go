package value

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// encoder appends one value; depth is how many lists and maps it is inside of.
type encoder func(b []byte, v reflect.Value, depth int) ([]byte, error)

var (
	encoders sync.Map // reflect.Type -> encoder
	timeType = reflect.TypeFor[time.Time]()

	customEncoder = reflect.TypeFor[msgpack.CustomEncoder]()
	marshaler     = reflect.TypeFor[msgpack.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// special says that a struct type is written as one value and not as a map of its fields.
func special(t reflect.Type) bool {
	pointer := reflect.PointerTo(t)
	return t == timeType || pointer.Implements(customEncoder) || pointer.Implements(marshaler) ||
		pointer.Implements(textMarshaler) || pointer.Implements(customDecoder) ||
		pointer.Implements(unmarshaler) || pointer.Implements(textUnmarshaler)
}

// Append appends the value as msgpack. Keys of maps are sorted, so that equal values give equal
// bytes.
func Append(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return wire.AppendNil(b), nil
	case bool:
		return wire.AppendBool(b, v), nil
	case int:
		return wire.AppendInt(b, int64(v)), nil
	case int64:
		return wire.AppendInt(b, v), nil
	case float64:
		return wire.AppendFloat(b, v), nil
	case string:
		return appendText(b, v)
	}
	value := reflect.ValueOf(v)
	return encoderOf(value.Type())(b, value, 0)
}

func appendText(b []byte, text string) ([]byte, error) {
	if !utf8.ValidString(text) {
		return b, fmt.Errorf("%w: %.40q", errUTF8, text)
	}
	if int64(len(text)) > math.MaxUint32 {
		return b, fmt.Errorf("a text of %d bytes", len(text))
	}
	return wire.AppendText(b, text), nil
}

func encoderOf(t reflect.Type) encoder {
	if known, ok := encoders.Load(t); ok {
		return known.(encoder)
	}
	// A type that contains itself finds this one while its own encoder is being made.
	var ready sync.WaitGroup
	var made encoder
	ready.Add(1)
	known, there := encoders.LoadOrStore(t, encoder(func(b []byte, v reflect.Value, depth int) ([]byte, error) {
		ready.Wait()
		return made(b, v, depth)
	}))
	if there {
		return known.(encoder)
	}
	made = makeEncoder(t)
	ready.Done()
	encoders.Store(t, made)
	return made
}

func makeEncoder(t reflect.Type) encoder {
	switch {
	case t == timeType:
		return func(b []byte, v reflect.Value, _ int) ([]byte, error) {
			return appendTime(b, v.Interface().(time.Time))
		}
	case t.Implements(customEncoder) || t.Implements(marshaler):
		return encodeOwn
	case t.Kind() != reflect.Pointer && (reflect.PointerTo(t).Implements(customEncoder) ||
		reflect.PointerTo(t).Implements(marshaler)):
		return throughPointer(encodeOwn)
	case t.Kind() != reflect.Pointer && t.Implements(textMarshaler):
		return encodeTextMarshaler
	case t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(textMarshaler):
		return throughPointer(encodeTextMarshaler)
	}
	switch t.Kind() {
	case reflect.Bool:
		return func(b []byte, v reflect.Value, _ int) ([]byte, error) { return wire.AppendBool(b, v.Bool()), nil }
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(b []byte, v reflect.Value, _ int) ([]byte, error) { return wire.AppendInt(b, v.Int()), nil }
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return func(b []byte, v reflect.Value, _ int) ([]byte, error) { return wire.AppendUint(b, v.Uint()), nil }
	case reflect.Float32, reflect.Float64:
		return func(b []byte, v reflect.Value, _ int) ([]byte, error) { return wire.AppendFloat(b, v.Float()), nil }
	case reflect.String:
		return func(b []byte, v reflect.Value, _ int) ([]byte, error) { return appendText(b, v.String()) }
	case reflect.Interface:
		return encodeInterface
	case reflect.Pointer:
		return pointerEncoder(encoderOf(t.Elem()))
	case reflect.Slice, reflect.Array:
		return listEncoder(t)
	case reflect.Map:
		return mapEncoder(t)
	case reflect.Struct:
		return structEncoder(t)
	}
	return refuseEncode(fmt.Errorf("%v cannot be a value of a body", t))
}

func refuseEncode(err error) encoder {
	return func(b []byte, _ reflect.Value, _ int) ([]byte, error) { return b, err }
}

// encodeOwn lets the type write itself, and looks at what it wrote.
func encodeOwn(b []byte, v reflect.Value, depth int) ([]byte, error) {
	if v.Kind() == reflect.Pointer && v.IsNil() {
		return wire.AppendNil(b), nil
	}
	own, err := msgpack.Marshal(v.Interface())
	if err != nil {
		return b, fmt.Errorf("%v: %w", v.Type(), err)
	}
	c := checker{Reader: wire.NewReader(own)}
	if err = c.value(depth); err == nil && c.At() != len(own) {
		err = fmt.Errorf("%d bytes behind the value", len(own)-c.At())
	}
	if err != nil {
		return b, fmt.Errorf("%v writes itself wrong: %w", v.Type(), err)
	}
	return append(b, own...), nil
}

func encodeTextMarshaler(b []byte, v reflect.Value, _ int) ([]byte, error) {
	if v.Kind() == reflect.Pointer && v.IsNil() {
		return wire.AppendNil(b), nil
	}
	text, err := v.Interface().(encoding.TextMarshaler).MarshalText()
	if err != nil {
		return b, fmt.Errorf("%v: %w", v.Type(), err)
	}
	return appendText(b, string(text))
}

func throughPointer(encode encoder) encoder {
	return func(b []byte, v reflect.Value, depth int) ([]byte, error) {
		if !v.CanAddr() {
			copied := reflect.New(v.Type()).Elem()
			copied.Set(v)
			v = copied
		}
		return encode(b, v.Addr(), depth)
	}
}

func encodeInterface(b []byte, v reflect.Value, depth int) ([]byte, error) {
	if v.IsNil() {
		return wire.AppendNil(b), nil
	}
	inner := v.Elem()
	return encoderOf(inner.Type())(b, inner, depth)
}

func pointerEncoder(element encoder) encoder {
	return func(b []byte, v reflect.Value, depth int) ([]byte, error) {
		if v.IsNil() {
			return wire.AppendNil(b), nil
		}
		// A pointer that leads to itself nests without end and without a list or map.
		if v.Elem().Kind() == reflect.Pointer || v.Elem().Kind() == reflect.Interface {
			if depth++; depth > MaxDepth {
				return b, errDepth
			}
		}
		return element(b, v.Elem(), depth)
	}
}

func listEncoder(t reflect.Type) encoder {
	slice := t.Kind() == reflect.Slice
	if t.Elem().Kind() == reflect.Uint8 && !special(t.Elem()) {
		return func(b []byte, v reflect.Value, _ int) ([]byte, error) {
			if slice && v.IsNil() {
				return wire.AppendNil(b), nil
			}
			if !slice && !v.CanAddr() {
				copied := reflect.New(v.Type()).Elem()
				copied.Set(v)
				v = copied
			}
			if int64(v.Len()) > math.MaxUint32 {
				return b, fmt.Errorf("%d bytes", v.Len())
			}
			return wire.AppendBytes(b, v.Bytes()), nil
		}
	}
	element := encoderOf(t.Elem())
	return func(b []byte, v reflect.Value, depth int) (_ []byte, err error) {
		if slice && v.IsNil() {
			return wire.AppendNil(b), nil
		}
		if depth >= MaxDepth {
			return b, errDepth
		}
		b = wire.AppendList(b, v.Len())
		for i := range v.Len() {
			if b, err = element(b, v.Index(i), depth+1); err != nil {
				return b, fmt.Errorf("[%d]: %w", i, err)
			}
		}
		return b, nil
	}
}

func mapEncoder(t reflect.Type) encoder {
	if t.Key().Kind() != reflect.String || special(t.Key()) {
		return refuseEncode(fmt.Errorf("%v: keys of maps are text", t))
	}
	element := encoderOf(t.Elem())
	return func(b []byte, v reflect.Value, depth int) (_ []byte, err error) {
		if v.IsNil() {
			return wire.AppendNil(b), nil
		}
		if depth >= MaxDepth {
			return b, errDepth
		}
		keys := v.MapKeys()
		slices.SortFunc(keys, func(x, y reflect.Value) int { return strings.Compare(x.String(), y.String()) })
		b = wire.AppendMap(b, len(keys))
		for _, key := range keys {
			if b, err = appendText(b, key.String()); err == nil {
				b, err = element(b, v.MapIndex(key), depth+1)
			}
			if err != nil {
				return b, fmt.Errorf("[%q]: %w", key.String(), err)
			}
		}
		return b, nil
	}
}

func structEncoder(t reflect.Type) encoder {
	fields, err := fieldsOf(t)
	if err != nil {
		return refuseEncode(err)
	}
	for i := range fields {
		fields[i].encode = encoderOf(t.FieldByIndex(fields[i].index).Type)
	}
	return func(b []byte, v reflect.Value, depth int) (_ []byte, err error) {
		if depth >= MaxDepth {
			return b, errDepth
		}
		n := 0
		for i := range fields {
			if _, ok := fields[i].of(v); ok {
				n++
			}
		}
		b = wire.AppendMap(b, n)
		for i := range fields {
			f := &fields[i]
			inner, ok := f.of(v)
			if !ok {
				continue
			}
			b = wire.AppendText(b, f.key)
			if b, err = f.encode(b, inner, depth+1); err != nil {
				return b, fmt.Errorf("%v.%s: %w", t, f.key, err)
			}
		}
		return b, nil
	}
}

// of returns the field's value and whether it is to be written.
func (f *field) of(v reflect.Value) (reflect.Value, bool) {
	inner := v
	if len(f.index) == 1 {
		inner = v.Field(f.index[0])
	} else {
		var err error
		if inner, err = v.FieldByIndexErr(f.index); err != nil {
			return inner, false // inside an embedded pointer that is nil
		}
	}
	if f.omitZero && inner.IsZero() || f.omitEmpty && empty(inner) {
		return inner, false
	}
	return inner, true
}

func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map, reflect.Array, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}
