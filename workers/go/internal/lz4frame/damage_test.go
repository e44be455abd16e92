package lz4frame

import (
	"math/rand/v2"
	"testing"

	"github.com/tuskd/tuskd/workers/go/internal/damage"
)

func decompressAnything(t *testing.T, frame []byte) (taken bool) {
	t.Helper()
	const limit = 1 << 20
	most, _, unbound := bound(frame)
	body, err := Decompress(frame, limit)
	if err != nil {
		if body != nil {
			t.Fatalf("%x: a body beside the error %v", frame, err)
		}
		return false
	}
	if unbound != nil || int64(len(body)) > most || most > limit {
		t.Fatalf("%x: %d bytes, the bound is %d (%v), the limit %d", frame, len(body), most, unbound, limit)
	}
	return true
}

func frames(t testing.TB) [][]byte {
	all, err := damage.Vectors(vectors, "frame")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAnyBytesAreAFrameOrAnError(t *testing.T) {
	const cases = 5000
	all := frames(t)
	random := rand.New(rand.NewPCG(1, 2))
	taken := 0
	for range cases {
		if decompressAnything(t, damage.Of(random, all)) {
			taken++
		}
	}
	if taken == 0 || taken == cases {
		t.Errorf("%d of %d frames were taken", taken, cases)
	}
}

func FuzzDecompress(f *testing.F) {
	for _, frame := range frames(f) {
		if len(frame) < 4096 {
			f.Add(frame)
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) { decompressAnything(t, frame) })
}
