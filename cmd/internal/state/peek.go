package state

import "path/filepath"

// Peek is the secret that the folder holds, and changes nothing. Zero: there is none yet, or it cannot be read or used; the addresses that
// follow from it are examples then.
func Peek(dir string) (secret [32]byte) {
	if key, err := loadSecret(filepath.Join(dir, "secret")); err == nil {
		secret = *key
	}
	return secret
}
