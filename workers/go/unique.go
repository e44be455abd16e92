package tusk

import (
	"fmt"
	"strings"
	"time"
)

// UniquePolicy says what a submit does whose unique key another task of its type has.
type UniquePolicy int

// What there is; ParseUniquePolicy reads the names. While the other task runs, UniqueReplace and
// UniqueDebounce leave a follow-up as UniqueFollowUp does; a key has one, and a further submit joins or
// replaces that.
const (
	UniqueJoin     UniquePolicy = iota // gets the other task's ending
	UniqueRefuse                       // is a DuplicateError
	UniqueReplace                      // gives the other task, if it waits, its own body and terms, and gets its ending
	UniqueDebounce                     // the same, and the delay begins anew
	UniqueFollowUp                     // joins a task that waits; if it runs, runs behind it
)

var policyNames = [...]string{UniqueJoin: "join", UniqueRefuse: "refuse", UniqueReplace: "replace",
	UniqueDebounce: "debounce", UniqueFollowUp: "follow_up"}

// ParseUniquePolicy reads the name of a policy: join, refuse, replace, debounce or follow_up.
func ParseUniquePolicy(name string) (UniquePolicy, error) {
	for policy, known := range policyNames {
		if known == name {
			return UniquePolicy(policy), nil
		}
	}
	return 0, invalid("unique_policy", "unique_policy %q does not exist; the names are %s", name, strings.Join(policyNames[:], ", "))
}

// String is the policy's name.
func (p UniquePolicy) String() string {
	if p < UniqueJoin || p > UniqueFollowUp {
		return fmt.Sprintf("policy %d", int(p))
	}
	return policyNames[p]
}

// WithUnique gives the task a key, 1 to 255 bytes of UTF-8: of the tasks of its type with this key only
// one lives, from its acceptance to its end. A submit that finds the key taken by another task does what
// its WithUniquePolicy says, by default join: then it has no task of its own, nobody knows its id, and
// Task.JoinedID says whose ending it got.
func WithUnique(key string) CallOption {
	return func(r *request) { r.asks().unique = &key }
}

// WithUniquePolicy is what the submit does if the key of its WithUnique is taken; UniqueJoin is what
// there is without it.
func WithUniquePolicy(policy UniquePolicy) CallOption {
	return func(r *request) { r.asks().uniquePolicy = &policy }
}

// WithUniqueFor keeps the key of WithUnique taken for so long after the task's end, up to 100 years:
// meanwhile every submit with it is a DuplicateError.
func WithUniqueFor(d time.Duration) CallOption {
	return func(r *request) { r.asks().uniqueFor = &d }
}

func (t *terms) checkUnique() error {
	switch {
	case t.unique == nil && t.uniquePolicy != nil:
		return invalid("unique_policy", "unique_policy says what becomes of a unique key; give WithUnique, too")
	case t.unique == nil && t.uniqueFor != nil:
		return invalid("unique_for", "unique_for says how long a unique key stays taken; give WithUnique, too")
	case t.unique == nil:
		return nil
	case t.uniquePolicy != nil && (*t.uniquePolicy < UniqueJoin || *t.uniquePolicy > UniqueFollowUp):
		return invalid("unique_policy", "unique_policy %d does not exist; the names are %s", int(*t.uniquePolicy), strings.Join(policyNames[:], ", "))
	}
	return checkKey("unique", *t.unique)
}
