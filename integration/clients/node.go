package clients

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// InstallNode installs the packages of dir/package.json, in exactly the
// versions of its lock file, and returns the directory to run scripts in. The
// result is kept below the user's cache directory under the hash of what it
// was made from, outside the tree.
func InstallNode(dir string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sources := []string{"package.json", "package-lock.json", ".npmrc"}
	sum := sha256.New()
	for _, name := range sources {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %d\n%s", name, len(content), content)
	}
	parent := filepath.Join(cache, "kmsfs-test")
	final := filepath.Join(parent, "node-"+hex.EncodeToString(sum.Sum(nil)[:8]))
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", err
	}
	temp, err := os.MkdirTemp(parent, ".node-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	for _, name := range sources {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(temp, name), content, 0o600)
		}
		if err != nil {
			return "", err
		}
	}
	// npm needs the user's own settings, for the registry: not Target.env.
	npm := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--no-update-notifier")
	npm.Dir = temp
	if out, err := npm.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	err = os.Rename(temp, final)
	if errors.Is(err, fs.ErrExist) { // another test run was quicker
		err = nil
	}
	return final, err
}

// Node starts an adapter script of dir with the packages that InstallNode
// installed.
func Node(t Target, packages, dir, script string, args ...string) (Client, error) {
	// A script finds its packages from where it lies.
	for _, name := range []string{script, "adapter.js"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(t.Home, name), content, 0o600)
		}
		if err != nil {
			return nil, err
		}
	}
	link := filepath.Join(t.Home, "node_modules")
	if err := os.Symlink(filepath.Join(packages, "node_modules"), link); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return start(t, t.Home, append([]string{"node", script}, args...)...)
}
