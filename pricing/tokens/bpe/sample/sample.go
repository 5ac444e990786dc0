// Package sample makes texts for tests and measurements of token counting. They
// are the same with every run of one Go version, and none is repetition: it would flatter whatever
// remembers. No program imports it.
package sample

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/build"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Texts are what people and programs write, by kind.
var Texts = map[string]func(size int) []byte{"English": English, "code": Code, "JSON": JSON, "CJK": CJK}

// sources are Go files of the standard library, some megabytes.
var sources = sync.OnceValue(func() []byte {
	var all []byte
	for _, folder := range []string{"net/http", "go/types", "crypto/tls", "encoding", "os", "reflect", "runtime"} {
		err := filepath.WalkDir(filepath.Join(build.Default.GOROOT, "src", folder), func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") {
				return err
			}
			file, err := os.ReadFile(name)
			all = append(all, file...)
			return err
		})
		if err != nil {
			panic(fmt.Sprintf("sample: %v: GOROOT must hold the standard library's sources", err))
		}
	}
	return all
})

// Code is Go code.
func Code(size int) []byte { return cut(sources(), size) }

var prose = sync.OnceValue(func() []byte {
	var all []byte
	for line := range bytes.Lines(sources()) {
		if text, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("// ")); ok && len(text) > 40 && !bytes.HasPrefix(text, []byte("Copyright")) {
			all = append(append(all, text...), '\n')
		}
	}
	return all
})

// English is the prose of comments.
func English(size int) []byte { return cut(prose(), size) }

// JSON is one array of objects.
func JSON(size int) []byte {
	words := strings.Fields(string(English(min(size, 100_000))))
	r := rand.New(rand.NewPCG(1, 1))
	b := []byte("[")
	for len(b) < size {
		object, err := json.Marshal(map[string]any{
			"id":     fmt.Sprintf("call_%08x", r.Uint32()),
			"name":   words[r.IntN(len(words))] + "_" + words[r.IntN(len(words))],
			"active": r.IntN(2) == 0,
			"price":  float64(r.IntN(100_000)) / 100,
			"tags":   []string{words[r.IntN(len(words))], words[r.IntN(len(words))]},
			"note":   strings.Join(words[r.IntN(len(words)-12):][:12], " "),
		})
		if err != nil {
			panic(err)
		}
		b = append(append(b, object...), ',')
	}
	return cut(b, size)
}

// Words of Chinese, Japanese and Korean.
const (
	chinese  = "我们 他们 可以 没有 自己 知道 时候 现在 什么 因为 所以 如果 但是 系统 文件 用户 数据 网络 请求 服务器 模型 预算 费用 公司 经济 发展 问题 研究 工作 学习 中国 北京 世界 历史 文化 语言 的 了 是 在 和 有 不 这 那 就 也 都 很 会 能 要 说 看 来 去 做 想 用 从 对 把 被 让 给 一个 非常 已经 还是 或者 应该 需要 提供 使用 设置 选择 打开 关闭 开始 结束"
	japanese = "私たち これは それを ために です ます ました から まで として について 使用 する します して 場合 必要 情報 データ ファイル サーバー ユーザー 設定 確認 変更 可能 日本 東京 時間 問題 方法 説明 の に は を が と で も へ"
	korean   = "우리는 그것은 사용자 데이터 서버 요청 파일을 설정 변경 확인 문제 방법 설명 시간 한국 서울 있습니다 없습니다 합니다 하는 그리고 그러나 때문에 위해서 대한 모든 다른 새로운"
)

// CJK is Chinese, Japanese and Korean words in sentences.
func CJK(size int) []byte {
	languages := []struct {
		words          []string
		between, after string
	}{{strings.Fields(chinese), "", "。"}, {strings.Fields(japanese), "", "。\n"}, {strings.Fields(korean), " ", ". "}}
	r := rand.New(rand.NewPCG(2, 2))
	var b []byte
	for len(b) < size {
		l := languages[r.IntN(len(languages))]
		for range 3 + r.IntN(9) {
			b = append(append(b, l.words[r.IntN(len(l.words))]...), l.between...)
			if l.between == "" && r.IntN(4) == 0 {
				b = append(b, "，"...)
			}
		}
		b = append(b, l.after...)
	}
	return cut(b, size)
}

// Hostile are texts that take the most work for their size, by kind.
func Hostile(size int) map[string][]byte {
	of := func(alphabet string, lo, hi rune) []byte {
		runes := []rune(alphabet)
		for r := lo; r < hi; r++ {
			runes = append(runes, r)
		}
		r := rand.New(rand.NewPCG(3, 3))
		var b []byte
		for len(b) < size {
			b = append(b, string(runes[r.IntN(len(runes))])...)
		}
		return cut(b, size)
	}
	const small, large, digits = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
	return map[string][]byte{
		"letters":      of(small, 0, 0),
		"short words":  of(small+"      ", 0, 0),
		"long words":   of(small+" ", 0, 0),
		"one letter":   of("a", 0, 0),
		"punctuation":  of("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", 0, 0),
		"spaces":       of(" ", 0, 0),
		"base64":       of(small+large+digits+"+/", 0, 0),
		"hex":          of(digits+"abcdef", 0, 0),
		"Han":          of("", 0x4e00, 0x9fff),
		"Han phrases":  of(strings.Repeat("。", 2000), 0x4e00, 0x9fff),
		"emoji":        of("", 0x1f300, 0x1f600),
		"marks":        of("", 0x300, 0x370),
		"mixed blanks": of(" \t\n\r\u00a0\u3000", 0, 0),
	}
}

// cut is about size bytes of text, whole characters.
func cut(text []byte, size int) []byte {
	if size > len(text) {
		panic(fmt.Sprintf("sample: there are %d bytes, not %d", len(text), size))
	}
	for size > 0 && size < len(text) && text[size]&0xc0 == 0x80 {
		size--
	}
	return text[:size:size]
}
