// Package apis finds the wire format of a call among all that Keel can read,
// and the provider that a host name belongs to.
//
// It knows names and paths only. What it does not find is unknown traffic: it
// never takes the nearest format for the one.
package apis

import (
	"strings"

	"keel/filter/wire"
	"keel/filter/wire/anthropic"
	"keel/filter/wire/bedrock"
	"keel/filter/wire/cohere"
	"keel/filter/wire/gemini"
	"keel/filter/wire/huggingface"
	"keel/filter/wire/mistral"
	"keel/filter/wire/ollama"
	"keel/filter/wire/openai"
	"keel/filter/wire/watsonx"
)

// matches are asked in order. Formats that a single maker speaks come before
// those that many hosts speak under their own prefixes.
var matches = []func(provider, method, path string) (wire.Codec, bool){
	bedrock.Match, gemini.Match, cohere.Match, ollama.Match, watsonx.Match, mistral.Match, anthropic.Match, openai.Match, huggingface.Match,
}

// Match returns the codec for a request line. provider is the name of the
// provider that the call goes to, as ProviderOf has it, or "" where that is not
// known: it decides where two formats share a path. path may have a query.
func Match(provider, method, path string) (wire.Codec, bool) {
	return codecs.get(key{provider, method, path}, findCodec)
}

func findCodec(k key) (wire.Codec, bool) {
	for _, match := range matches {
		if codec, ok := match(k.provider, k.method, k.path); ok {
			return codec, true
		}
	}
	return nil, false
}

// Maker is the provider whose own format api is: where a call goes that says
// nothing else. It is "" for formats of hosts that have no one address.
func Maker(api wire.API) string {
	format, _, _ := strings.Cut(string(api), ".")
	switch format {
	case "gemini":
		return "google"
	case "openai", "anthropic", "bedrock", "cohere", "mistral", "huggingface", "watsonx", "vertex", "ollama":
		return format
	}
	return ""
}

// hosts are the providers' public names; one that begins with a dot stands for all below it.
var hosts = []struct{ name, provider string }{
	{"api.openai.com", "openai"},
	{".api.openai.com", "openai"},               // data residency: eu.api.openai.com
	{"models.inference.ai.azure.com", "github"}, // before the suffix of Azure
	{".openai.azure.com", "azure"},
	{".services.ai.azure.com", "azure"},
	{".cognitiveservices.azure.com", "azure"},
	{".models.ai.azure.com", "azure"},
	{".inference.ai.azure.com", "azure"},
	{".inference.ml.azure.com", "azure"},
	{"api.anthropic.com", "anthropic"},
	{"generativelanguage.googleapis.com", "google"},
	{"aiplatform.googleapis.com", "vertex"},
	{".aiplatform.googleapis.com", "vertex"},
	{"api.x.ai", "xai"},
	{".api.x.ai", "xai"},
	{"api.mistral.ai", "mistral"},
	{"codestral.mistral.ai", "mistral"},
	{"api.deepseek.com", "deepseek"},
	{"api.groq.com", "groq"},
	{"openrouter.ai", "openrouter"},
	{"api.perplexity.ai", "perplexity"},
	{"ai-gateway.vercel.sh", "vercel-gateway"},
	{"api.cohere.com", "cohere"},
	{"api.cohere.ai", "cohere"},
	{"api.together.ai", "together"},
	{"api.together.xyz", "together"},
	{"api.fireworks.ai", "fireworks"},
	{"api.cerebras.ai", "cerebras"},
	{"api.inference.crusoecloud.com", "crusoe"},
	{"router.huggingface.co", "huggingface"},
	{"api-inference.huggingface.co", "huggingface"},
	{".endpoints.huggingface.cloud", "huggingface"},
	{".snowflakecomputing.com", "snowflake"},
	{".cloud.databricks.com", "databricks"},
	{".azuredatabricks.net", "databricks"},
	{"api.z.ai", "zai"},
	{"open.bigmodel.cn", "zai"},
	{"api.voyageai.com", "voyage"},
	{"api.writer.com", "writer"},
	{"api.portkey.ai", "portkey"},
	{"api.avian.io", "avian"},
	{".ml.cloud.ibm.com", "watsonx"},
	{"ollama.com", "ollama"},
	{"api.moonshot.ai", "moonshotai"},
	{"api.moonshot.cn", "moonshotai"},
	{"gateway.pydantic.dev", "pydantic-gateway"},
	{"models.github.ai", "github"},
	{"api.githubcopilot.com", "github-copilot"},
	{"gateway-us.pydantic.dev", "pydantic-gateway"},
	{"gateway-eu.pydantic.dev", "pydantic-gateway"},
	{"api.cloudflare.com", "cloudflare"}, // Workers AI; its gateway is another host
	{"dashscope.aliyuncs.com", "alibaba"},
	{"dashscope-intl.aliyuncs.com", "alibaba"},
	{"dashscope-us.aliyuncs.com", "alibaba"},
	{"api.minimax.io", "minimax"},
	{"api.minimaxi.com", "minimax"},
	{"api.minimax.chat", "minimax"},
	{"api.llama.com", "meta"},
	{"api.novita.ai", "novita"},
	{"api.sambanova.ai", "sambanova"},
	{"integrate.api.nvidia.com", "nvidia"},
	{"ai.api.nvidia.com", "nvidia"},
	{"api.deepinfra.com", "deepinfra"},
	{"api.hyperbolic.xyz", "hyperbolic"},
	{"api.studio.nebius.com", "nebius"},
	{"api.studio.nebius.ai", "nebius"},
	{"api.tokenfactory.nebius.com", "nebius"},
	{"api.siliconflow.cn", "siliconflow"},
	{"api.siliconflow.com", "siliconflow"},
	{"ark.cn-beijing.volces.com", "volcengine"},
	{"qianfan.baidubce.com", "baidu"},
	{"hunyuan.cloud.tencent.com", "tencent"},
	{"api.hunyuan.cloud.tencent.com", "tencent"},
	{"api.stepfun.com", "stepfun"},
	{"api.lingyiwanwu.com", "01ai"},
	{"api.baichuan-ai.com", "baichuan"},
	{"api.ai21.com", "ai21"},
	{"api.jina.ai", "jina"},
	{"api.upstage.ai", "upstage"},
	{"api.reka.ai", "reka"},
	{"api.inceptionlabs.ai", "inception"},
	{"api.friendli.ai", "friendli"},
	{"api.scaleway.ai", "scaleway"},
	{".endpoints.kepler.ai.cloud.ovh.net", "ovhcloud"},
	{"oai.endpoints.kepler.ai.cloud.ovh.net", "ovhcloud"},
	{"inference.baseten.co", "baseten"},
	{".api.baseten.co", "baseten"},
	{"inference.do-ai.run", "digitalocean"},
	{"us.inference.heroku.com", "heroku"},
	{"eu.inference.heroku.com", "heroku"},
	{"api.lambda.ai", "lambda"},
	{"api.aimlapi.com", "aimlapi"},
	{"api.venice.ai", "venice"},
	{"api.featherless.ai", "featherless"},
	{"nano-gpt.com", "nano-gpt"},
	{"api.mixedbread.com", "mixedbread"},
}

// ProviderOf names the provider that serves host, with or without a port; ""
// for a host of nobody known.
func ProviderOf(host string) string {
	provider, _ := providers.get(key{path: host}, findProvider)
	return provider
}

func findProvider(k key) (provider string, ok bool) {
	return providerOf(k.path), true
}

func providerOf(host string) string {
	host, _, _ = strings.Cut(strings.ToLower(host), ":")
	for _, h := range hosts {
		if host == h.name || h.name[0] == '.' && strings.HasSuffix(host, h.name) {
			return h.provider
		}
	}
	switch {
	case strings.Contains(host, ".bedrock-runtime.") && strings.HasSuffix(host, ".vpce.amazonaws.com"):
		return "bedrock" // an endpoint in a network of one's own: vpce-x.bedrock-runtime.us-east-1.vpce.amazonaws.com
	case strings.HasPrefix(host, "bedrock-") && (strings.HasSuffix(host, ".amazonaws.com") || strings.HasSuffix(host, ".api.aws")):
		return "bedrock" // bedrock-runtime.us-east-1.amazonaws.com, bedrock-mantle.us-east-1.api.aws
	case strings.HasPrefix(host, "aiplatform.") && strings.HasSuffix(host, ".rep.googleapis.com"):
		return "vertex" // aiplatform.us.rep.googleapis.com: an endpoint of several regions
	case strings.HasSuffix(host, "-aiplatform.googleapis.com"):
		return "vertex" // us-east5-aiplatform.googleapis.com
	}
	return ""
}
