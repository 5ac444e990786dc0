package pricing

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
)

//go:embed catalog/capabilities.json
var vendoredAbilities []byte

// Abilities are what is known of what a model can't take. What is not known is not lacking.
// Their origin, licences and how they are made: catalog/capabilities.py.
type Abilities struct {
	ContextTokens int64 // the most input that it takes, of two sizes that are told the larger; 0 where nobody says
	NoTools       bool  // it calls no functions
	NoImages      bool  // it takes no images
	NoSchema      bool  // its answers keep to no schema
}

// abilities are by provider, then by model in lower case.
type abilities struct {
	version   string
	providers map[string]map[string]Abilities
}

var knownAbilities = sync.OnceValue(func() *abilities {
	a, err := parseAbilities(vendoredAbilities)
	if err != nil {
		panic("the capabilities in this binary are broken: " + err.Error()) // a test reads them at every build
	}
	return a
})

// AbilitiesVersion names everything that the answers of Book.Abilities depend on besides the book.
func AbilitiesVersion() string { return knownAbilities().version }

// Abilities returns what is known of a model of a provider. A snapshot that is not listed is taken for the model
// that it is of, and one that a gateway sells for the maker's. It is for when a configuration is made, not for every call.
func (b *Book) Abilities(provider, model string) Abilities {
	provider = canonicalProvider(provider)
	name := canonicalModel(provider, model)
	known := knownAbilities().of(provider, name)
	known.ContextTokens = max(known.ContextTokens, b.catalogue.context(provider, name))
	return known
}

func (a *abilities) of(provider, name string) Abilities {
	names := spellings(provider, name)
	if provider == "openrouter" || gateways[provider] {
		names = append(names, withoutVariant(name))
	}
	for _, name := range names {
		for _, name := range []string{name, trimDate(name)} {
			if known, ok := a.providers[provider][name]; ok {
				return known
			}
		}
	}
	if by, own := maker(withoutVariant(name)); gateways[provider] && by != "" && !gateways[by] {
		return a.of(by, canonicalModel(by, own))
	}
	return Abilities{}
}

// context is the size of a model's context as the list of a provider has it, 0 where it does not say.
func (c *catalogue) context(provider, name string) int64 {
	l := c.providers[provider]
	if l == nil {
		return 0
	}
	for _, candidate := range spellings(provider, name) {
		if m := l.find(candidate); m != nil {
			return m.context
		}
	}
	return 0
}

func parseAbilities(text []byte) (*abilities, error) {
	var file struct {
		SHA256    string `json:"sha256"` // of the bytes of providers
		Providers map[string]map[string]struct {
			Lacks   []string `json:"lacks"`
			Context int64    `json:"context"`
		} `json:"providers"`
	}
	if err := json.UnmarshalRead(bytes.NewReader(text), &file); err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(content(text)); hex.EncodeToString(sum[:]) != file.SHA256 {
		return nil, fmt.Errorf("content has SHA-256 %x, the file says %s: it was edited by hand or damaged, run capabilities.py", sum, file.SHA256)
	}
	a := &abilities{version: file.SHA256[:12], providers: make(map[string]map[string]Abilities, len(file.Providers))}
	for provider, models := range file.Providers {
		a.providers[provider] = make(map[string]Abilities, len(models))
		for model, says := range models {
			if model != strings.ToLower(model) || says.Context < 0 {
				return nil, fmt.Errorf("%s/%s: a name is in lower case, and a context not negative", provider, model)
			}
			known := Abilities{ContextTokens: says.Context}
			for _, lack := range says.Lacks {
				switch lack {
				case "tools":
					known.NoTools = true
				case "images":
					known.NoImages = true
				case "schema":
					known.NoSchema = true
				default:
					return nil, fmt.Errorf("%s/%s lacks %q, which this program does not know", provider, model, lack)
				}
			}
			a.providers[provider][model] = known
		}
	}
	return a, nil
}
