package tokens

// imageRule is how a maker turns an image into tokens.
type imageRule struct {
	kind imageKind
	// Of tiles: tokens of an image and of each tile. Of patches: base is
	// thousandths of a token a patch, tile the most patches.
	base, tile int64
}

type imageKind uint8

const (
	noImageRule imageKind = iota
	openAITiles
	openAIPatches
	claudePatches
	geminiTiles
	gemini2Tiles
	fixedImage // base tokens whatever the size
	mistralPatches
)

// unknownImage is the most that is expected of an image where nobody says how it counts: 28 pixels a side make a
// token for most that were recorded.
const unknownImage = 1_500

// unreadable is the side of an image whose header could not be read, for the expected number; its
// bound is that of the largest image.
const unreadable = 1024

// expected is the likely number of tokens of an image.
func (r imageRule) expected(i Image) int64 {
	if i.Width <= 0 || i.Height <= 0 {
		i.Width, i.Height = unreadable, unreadable
	}
	// Larger is nothing that a decoder takes, and sizes are multiplied below.
	w, h := min(i.Width, 1<<20), min(i.Height, 1<<20)
	switch r.kind {
	case openAITiles:
		return r.tiled(w, h, i.Detail)
	case openAIPatches:
		return r.patched(w, h, i.Detail)
	case claudePatches:
		return claudeImage(w, h, r.base, r.tile)
	case geminiTiles:
		return 258 * min(tiles(w, 768)*tiles(h, 768), 16)
	case gemini2Tiles:
		return gemini2Image(w, h)
	case fixedImage:
		return r.base
	case mistralPatches:
		w, h = within(w, h, 1540)
		return tiles(w, 28) * (tiles(h, 28) + 1)
	}
	return min(tiles(w, 28)*tiles(h, 28), unknownImage)
}

// most is what no image of the rule exceeds.
func (r imageRule) most() int64 {
	switch r.kind {
	case openAITiles:
		// Fitted into 2048×2048, then to a short side of 768: 4×2 tiles.
		return r.base + 8*r.tile
	case openAIPatches:
		return milli(r.tile, r.base)
	case claudePatches:
		return r.tile + r.tile/8
	case geminiTiles, gemini2Tiles:
		return 258 * 17
	case fixedImage:
		return 2 * r.base
	case mistralPatches:
		return 55 * 56
	}
	return 16_384
}

// bound is what the image can't exceed: its rule with room for rounding, or
// the most of all.
func (r imageRule) bound(i Image) int64 {
	if i.Width <= 0 || i.Height <= 0 || r.kind == noImageRule {
		return r.most()
	}
	expected := r.expected(i)
	return min(r.most(), expected+expected/4+64)
}

// tiled is OpenAI's rule for gpt-4o, 4.1, 4.5, o1, o3 and gpt-5 (images and vision guide): a base, and tiles of
// 512×512 after fitting into 2048×2048 and down to a short side of 768; low detail is the base alone.
func (r imageRule) tiled(w, h int64, detail string) int64 {
	if detail == "low" {
		return r.base
	}
	w, h = within(w, h, 2048)
	if short := min(w, h); short > 768 {
		w, h = max(w*768/short, 1), max(h*768/short, 1)
	}
	return r.base + r.tile*tiles(w, 512)*tiles(h, 512)
}

// patched is OpenAI's rule for the mini and nano models from 4.1 on: patches of
// 32×32, scaled down until they are at most so many, times a factor by model.
func (r imageRule) patched(w, h int64, detail string) int64 {
	n := tiles(w, 32) * tiles(h, 32)
	most := r.tile
	if detail == "low" {
		most = min(most, 256)
	}
	return milli(min(n, most), r.base)
}

// claudeImage is Anthropic's: patches of 28×28, after fitting into a longest
// side and a number of patches by model. (The vision guide's width×height/750 is
// its approximation; measured images fit the grid exactly.)
func claudeImage(w, h, side, most int64) int64 {
	w, h = within(w, h, side)
	return min(tiles(w, 28)*tiles(h, 28), most) + 3
}

// gemini2Image is Google's rule up to 2.0 (understand token counts): 258 for an image
// of at most 384 a side; else tiles of two thirds of the short side, between 256
// and 768, and an overview.
func gemini2Image(w, h int64) int64 {
	if w <= 384 && h <= 384 {
		return 258
	}
	unit := min(max(min(w, h)*2/3, 256), 768)
	return 258 * (min(tiles(w, unit)*tiles(h, unit), 16) + 1)
}

// within scales a size down to a longest side.
func within(w, h, side int64) (int64, int64) {
	if long := max(w, h); long > side {
		return max(w*side/long, 1), max(h*side/long, 1)
	}
	return w, h
}
