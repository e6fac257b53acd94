package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
)

func readFile(name string) {
	b, err := os.ReadFile(name)
	must(err)
	fmt.Printf("%s\n%s\n", digest(b), b)
}

func ioCopy(name string) {
	from, err := os.Open(name)
	must(err)
	defer from.Close()
	to, err := os.Create(out(name))
	must(err)
	n, err := io.Copy(to, from)
	must(err)
	must(to.Close())
	_, err = from.Seek(0, io.SeekStart)
	must(err)
	r, w := net.Pipe()
	go func() { io.Copy(w, from); w.Close() }()
	b, err := io.ReadAll(r)
	must(err)
	fmt.Println(n, digest(b))
}

func lines(name string) {
	f, err := os.Open(name)
	must(err)
	defer f.Close()
	n, last := 0, ""
	for s := bufio.NewScanner(f); s.Scan(); n++ {
		last = s.Text()
	}
	fmt.Println(n, last)
}

func readAt(name string) {
	f, err := os.Open(name)
	must(err)
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	must(err)
	for _, at := range []int64{0, end - 1, end, end + 1, 4090} {
		buf := make([]byte, 100)
		n, err := f.ReadAt(buf, at)
		fmt.Print(n, " ", err, " ", digest(buf), "; ")
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 3, 5000))
	fmt.Println(digest(b), err)
}

func dirFS() {
	fsys := os.DirFS(".")
	must(fs.WalkDir(fsys, ".", func(path string, e fs.DirEntry, err error) error {
		must(err)
		st, err := e.Info()
		must(err)
		fmt.Print(path, " ", st.Mode(), " ", st.ModTime().UTC())
		if !e.IsDir() {
			b, err := fs.ReadFile(fsys, path)
			must(err)
			fmt.Print(" ", st.Size(), " ", digest(b))
		}
		fmt.Println()
		return nil
	}))
}

func copyFS() { must(os.CopyFS(out("tree"), os.DirFS("."))) }

// serveHTTP asks for whole files, ranges, and what has not changed, of a
// server in this process.
func serveHTTP(name string) {
	s := httptest.NewServer(http.FileServer(http.Dir(".")))
	defer s.Close()
	for _, header := range []http.Header{{}, {"Range": {"bytes=-10"}}, {"If-Modified-Since": {"Thu, 02 Jan 2020 03:04:05 GMT"}}} {
		req, err := http.NewRequest(http.MethodGet, s.URL+"/"+name, nil)
		must(err)
		req.Header = header
		resp, err := s.Client().Do(req)
		must(err)
		b, err := io.ReadAll(resp.Body)
		must(err)
		resp.Body.Close()
		fmt.Println(resp.Status, resp.ContentLength, resp.Header.Get("Last-Modified"), resp.Header.Get("Content-Range"), digest(b))
	}
}

func handshake() {
	pair, err := tls.LoadX509KeyPair("cert.pem", "key.pem")
	must(err)
	pem, err := os.ReadFile("cert.pem")
	must(err)
	roots := x509.NewCertPool()
	fmt.Println(roots.AppendCertsFromPEM(pem))
	a, b := net.Pipe()
	go func() {
		s := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{pair}})
		s.Write([]byte("hello"))
		s.Close()
	}()
	c := tls.Client(b, &tls.Config{RootCAs: roots, ServerName: "localhost"})
	said, err := io.ReadAll(c)
	fmt.Printf("%s %v\n", said, err)
}

// readers read at once, through one descriptor and through many.
func readers(name string) {
	shared, err := os.Open(name)
	must(err)
	defer shared.Close()
	st, err := shared.Stat()
	must(err)
	got := make([]string, 64)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			b := make([]byte, st.Size())
			if _, err := shared.ReadAt(b, 0); err != nil {
				got[i] = err.Error()
				return
			}
			c, err := os.ReadFile(name)
			got[i] = fmt.Sprint(digest(b), digest(c), err)
		})
	}
	wg.Wait()
	fmt.Println(slices.Compact(got))
}

func descriptors(name string) {
	var open []*os.File
	for range 500 {
		f, err := os.Open(name)
		must(err)
		open = append(open, f)
	}
	var got []string
	for i, f := range open {
		b := make([]byte, 100)
		_, err := f.ReadAt(b, int64(i%2*6000))
		must(err)
		got = append(got, digest(b))
		f.Close()
	}
	slices.Sort(got)
	fmt.Println(slices.Compact(got))
}
