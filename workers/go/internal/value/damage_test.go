package value

import (
	"math/rand/v2"
	"testing"

	"github.com/tuskd/tuskd/workers/go/internal/damage"
)

// decodeAnything fails the test unless the body is refused, or its value can be written and read again
// and is the same.
func decodeAnything(t *testing.T, body []byte) (taken bool) {
	t.Helper()
	var v any
	if err := Decode(body, &v); err != nil {
		var typed struct{ A []map[string]int }
		if v != nil || Decode(body, &typed) == nil {
			t.Fatalf("%x: a value beside the error %v", body, err)
		}
		return false
	}
	written, err := Append(nil, v)
	if err != nil {
		t.Fatalf("%x: %v cannot be written: %v", body, v, err)
	}
	var again any
	if err := Decode(written, &again); err != nil {
		t.Fatalf("%x: was written as %x, which is refused: %v", body, written, err)
	}
	if !same(v, again) {
		t.Fatalf("%x: %v became %v", body, v, again)
	}
	return true
}

func bodies(t testing.TB) [][]byte {
	all, err := damage.Vectors("../../../../proto/vectors/bodies/v1.json", "bytes")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAnyBytesAreAValueOrAnError(t *testing.T) {
	const cases = 20_000
	all := bodies(t)
	random := rand.New(rand.NewPCG(1, 2))
	taken := 0
	for range cases {
		if decodeAnything(t, damage.Of(random, all)) {
			taken++
		}
	}
	if taken < cases/50 || taken > cases*9/10 {
		t.Errorf("%d of %d bodies were taken", taken, cases)
	}
}

func FuzzDecode(f *testing.F) {
	for _, body := range bodies(f) {
		if len(body) < 4096 {
			f.Add(body)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) { decodeAnything(t, body) })
}
