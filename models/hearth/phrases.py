"""The words that hearth's training text is made of.

Why it exists: a small model generalises as far as its text varies, so variety lives here as data.
Rules: `[a|b|]` is a choice (nesting allowed, an empty arm may be taken), `{slot}` is filled by the
generator. In every list the tail is held out for the test set (`HELD_OUT` in `grammar.py`), so a
test message uses sentences, names and products that training never saw.
What it does not know: how messages are put together, labelled or tokenised.
Every person, shop and number below is invented.
"""

DEPARTMENTS = ("billing", "shipping", "returns", "technical", "account", "sales")

INTENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "refund": ("returns", (
        "[I would like|I want|I'd like|I am asking for] [a refund|my money back|a full refund] for [the|my] {product}[ I bought|]",
        "[please|kindly|can you|could you] refund [me|] [the |]{amount} [for|I paid for] [the|my] {product}",
        "[how do|when can|where do] I get [my money|my {amount}] back[ for order {order}| for the {product}|]",
        "[I am|I'm] [not happy|not satisfied|disappointed] with the {product} and [want|need|would like] [my money back|a refund]",
        "[requesting|asking for] [a|the] refund [of {amount} |]on order {order}",
        "[I returned|I sent back] the {product} [two weeks ago|a while ago|on {date}] and [still have no refund|the refund has not come|nobody has refunded me]",
        "you [promised|told] me [a refund|{amount} back] [for order {order}|on {date}] [but|and yet] [nothing has arrived|I see no money]",
        "[give me|I demand|I expect] [my money back|a refund][ of {amount}|] for [this|the] {product}",
        "[is|would] it [possible|okay] to [have|get] {amount} [returned|refunded|credited] [to my card|to my account|] for order {order}",
        "the {product} [is not for me|did not suit us], so [please pay the money back|I ask you to reimburse me]",
        "[kindly reimburse|please reimburse|reimburse] the {amount} [that I spent|spent] on the {product}",
        "[where is|what happened to] the reimbursement [for|of] order {order}",
    )),
    "return_item": ("returns", (
        "[I want|I would like|I need|I'd like] to [return|send back|give back] [the|my] {product}",
        "[how|where] [can|do] I [return|send back] [the|a] {product}[ from order {order}|]",
        "[please send|can you send|could you e-mail] me [a|the] return label for [order {order}|the {product}]",
        "the {product} [does not fit|is too small|is too big|is the wrong colour] and I [want to|would like to|have to] [return|send back] it",
        "[what is|could you explain] the return [policy|procedure|process] for [a|the] {product}",
        "[I ordered|I bought] the {product} on {date} and [changed my mind|no longer need it], [can|may] I return it",
        "[do|must] I [pay|cover] the postage [when|if] I return [the|my] {product}",
        "I [have|'ve got] [a|one] {product} here [that has to go back|that I do not want to keep]",
        "[arrange|please arrange|could you arrange] a pick-up [for the {product}|of order {order}], I am [sending|giving] it back",
        "the {product} [goes|is going] back to you, [which address|what address] [should I|do I] use",
    )),
    "exchange": ("returns", (
        "[I want|I would like|can I|could I] [to exchange|to swap|exchange|swap] [the|my] {product} for [another size|a different colour|a larger one|a smaller one]",
        "[is an exchange|is a swap] possible for [the {product}|order {order}]",
        "[please|kindly] [replace|exchange] the {product} [with|for] [the blue one|the newer model|size M|size L]",
        "[I picked|I chose|I ordered] the wrong size of the {product} and [want|need|would like] [a different one|another size]",
        "[could you|can you] swap the {product} [from order {order} |]for the [other|larger|black] [version|model]",
        "the {product} [is|feels] too [tight|wide|short|long], [please exchange it|I would like an exchange]",
        "instead of the {product} [I got|that came] I [would rather have|prefer] the [red|green|grey] one, [can we trade|may I swap]",
        "[I'd rather|I would sooner] [have|take] a [bigger|smaller] {product} than this one, [what now|how does a switch work]",
    )),
    "damaged": ("returns", (
        "[the|my] {product} [arrived|came|was delivered] [broken|damaged|cracked|scratched|in pieces]",
        "[there is|I found] a [crack|scratch|dent|hole] in the {product}[ from order {order}|]",
        "[the box|the parcel|the package] was [crushed|torn|wet] and the {product} [inside |]is [damaged|broken]",
        "[I just opened|we unpacked] [order {order}|the {product}] and [it is|everything is] [smashed|broken|dented]",
        "[I received|we received|I got] a [damaged|defective|cracked] {product} on {date}",
        "[one of|part of] the {product} [is|was] [bent|chipped|shattered] [on arrival|when it came]",
        "the {product} [has|had] a [broken|snapped] [handle|corner|leg|lid] [out of the box|when I unpacked it]",
        "[the glass|the screen|the cover] of the {product} [is shattered|has a crack] [straight from|right out of] the [carton|box]",
        "[your courier|the driver] must have dropped it, the {product} is [in bits|ruined|beyond use]",
    )),
    "late_delivery": ("shipping", (
        "[my|the] [order|parcel|package] [{order} |][is late|has not arrived|still has not come|is overdue]",
        "[I have been waiting|I am still waiting|we are waiting] for [the|my] {product} [since {date}|for weeks|for ten days]",
        "[the|my] {product} [should have|was supposed to] [arrive|come|be here] [on {date}|last week] [but it did not|and did not]",
        "[order|delivery of order] {order} [is delayed|is running late|was due on {date}]",
        "[you promised|I was promised] delivery [by|on] {date} and [nothing came|there is still nothing here]",
        "[why|how come] [is my {product} so late|does the delivery take so long]",
        "[no sign|not a trace] of [the|my] {product} [yet|so far], [although|even though] [you said|it was due] {date}",
        "[it has been|that is now] [three weeks|a month] and [my {product}|order {order}] [is nowhere|did not turn up]",
        "[when on earth|when] will the {product} [finally|at last] [get here|reach me], it was [meant for|due on] {date}",
    )),
    "track_order": ("shipping", (
        "[where is|what is the status of|can you track] [my|the] [order|parcel|package][ {order}|]",
        "[when will|do you know when] [the|my] {product} [arrive|be delivered|come|get here]",
        "[please send|could you send|can I have] [me |]the tracking [number|link|code] for [order {order}|my {product}]",
        "[has|did] [order {order}|my {product}] [shipped|left the warehouse|been dispatched][ yet|]",
        "[I would like|I want] to know [where|how far along] [my|the] [order {order}|{product}] is",
        "[any update|any news] on [order {order}|the delivery of the {product}]",
        "[the tracking page|the tracking link] [shows nothing|is empty] for [order {order}|my {product}], where is it",
        "[could|would] you [check|look up] [how far|where] [order {order}|the {product}] has [got|come]",
        "[is|are] [my {product}|the goods of order {order}] [on the road|under way|with the carrier] [already|by now]",
    )),
    "wrong_item": ("shipping", (
        "[I ordered|I bought|we ordered] [a|the] {product} [but|and] [got|received] [something else|the wrong thing|a different item]",
        "[you sent|you have sent|I was sent] [me |]the wrong [item|article|product][, I ordered a {product}| for order {order}]",
        "[order {order}|my order] [contained|came with] [the wrong item|another product] instead of the {product}",
        "[this is not|that's not] the {product} [I ordered|that I paid for]",
        "[instead of|in place of] the {product} [there was|I found] [a toaster|a lamp|somebody else's order] in the [box|parcel]",
        "the [label|box] says {product} [but|yet] [inside is|it holds] [something different|another thing]",
        "[somebody|your warehouse] mixed up [order {order}|my parcel], [there is no|I do not see any] {product} in it",
        "what [I unpacked|came out of the box] [is certainly|was] no {product}, [please check|look at] order {order}",
    )),
    "change_address": ("shipping", (
        "[please|could you|can you|kindly] [change|update|correct] the [delivery|shipping] address [for|of] order {order}",
        "[I moved|we moved|I have moved][ house|] [and|so] [order {order}|the {product}] [must|should|has to] go to [my|our] new address",
        "[I gave|I entered|I typed] the wrong [delivery |shipping |]address for [order {order}|my {product}]",
        "[can|could] [order {order}|the {product}] be [sent|delivered|shipped] to [a different|another] address",
        "[deliver|please deliver|send] [my order|the {product}] to [my office|my neighbour] instead",
        "[the street|the house number|the postcode] [on|in] order {order} is [wrong|incorrect|outdated]",
        "[is it too late to|may I still] [redirect|reroute] [order {order}|the {product}] to [my work|a parcel shop]",
        "[I live|we live] [somewhere else|at a new place] now, [have the {product} brought|bring order {order}] there",
    )),
    "cancel_order": ("shipping", (
        "[please|I want to|I would like to|I need to|can you] cancel [my order|order {order}|the order for the {product}]",
        "[I no longer need|I don't want|we do not need] the {product}[ any more|], [please cancel|cancel the order]",
        "[cancel|stop] [order {order}|my order of {date}] [before it ships|immediately|please]",
        "[is it|would it be] [still |]possible to cancel [order {order}|the {product}]",
        "[I ordered|I bought] the {product} by [mistake|accident], [please cancel|can you cancel it]",
        "[I have|we have] [decided against|found a cheaper] {product}, [please take order {order} back|so cancel]",
        "[please do not|don't] [ship|send out] [order {order}|the {product}], I [have changed my plans|want out]",
        "[call off|scrap|drop] [order {order}|my order for the {product}]",
    )),
    "double_charge": ("billing", (
        "[I was|I have been|we were|I got] [charged|billed|debited] [twice|two times|double] for [the {product}|order {order}]",
        "[my card|my account|my bank statement] shows [two|double] [charges|payments] of {amount}",
        "[there are|I see] two [charges|debits|payments] of {amount} [on {date}|for order {order}|]",
        "[you took|you charged|you debited] {amount} [twice|two times][ on {date}|]",
        "[why|how] [was I|were we] [charged|billed] {amount} [twice|again][ for the {product}|]",
        "[a duplicate|a double|a second] [charge|payment] of {amount} [appeared|showed up] [on {date}|]",
        "the same {amount} [left|has left] my account [once more|a second time] [on {date}|]",
        "[somehow|apparently] I paid for [one {product}|order {order}] [two times over|twice over]",
        "{amount} [went out|was taken] on {date} [and again|and once again] [the day after|a day later]",
    )),
    "invoice": ("billing", (
        "[please send|could you send|can you e-mail|I need] [me |][the|an|a copy of the] invoice for [order {order}|the {product}]",
        "[I cannot find|I lost|we are missing] the [invoice|receipt|bill] [for|of] [order {order}|the {product}]",
        "[our accounting|my accountant|our finance team] [needs|wants|asks for] [an invoice|a VAT invoice] [over|for] {amount}",
        "[the invoice|the bill] for order {order} [shows the wrong|has an incorrect] [name|amount|address|VAT number]",
        "[where can|how can|where do] I [download|find|get] [my|the] invoice[ for order {order}| from {date}|]",
        "[may I have|I would like] [a proper|an official] [bill|receipt] [over|for] {amount}",
        "[for my tax return|for our books] I [need|require] the paperwork [of|for] order {order}",
        "[issue|kindly issue|please make out] [a bill|the paperwork] to our company for the {product}",
    )),
    "payment_failed": ("billing", (
        "[my|the] payment [of {amount} |][failed|was declined|did not go through|was rejected]",
        "[I cannot|I can't|we cannot] pay for [the {product}|order {order}][ with my card|]",
        "[your site|the checkout|the shop] [rejects|declines|does not accept] my [card|credit card] [for the {product}|]",
        "[the checkout|the payment page] [shows an error|crashes|hangs] when I [pay|try to pay] {amount}",
        "[I tried to pay|paying] {amount} [three times|again and again] [but it fails|without success]",
        "[the money was taken|{amount} was taken] but [order {order}|my order] [says unpaid|is not confirmed]",
        "[paying by card|the card payment] [is impossible|keeps bouncing], [although|even though] my bank [sees no problem|says all is well]",
        "[at the last step|on the last page] the {amount} [will not|won't] go through",
    )),
    "password": ("account", (
        "[I forgot|I lost|I don't remember] my password",
        "[I cannot|I can't|I am unable to] [log in|sign in|get into my account][ since {date}|]",
        "[please|can you|could you] reset my password",
        "[the reset link|the password e-mail] [never arrived|does not work|has expired]",
        "[my account|my login] is [locked|blocked|disabled][ since {date}|]",
        "[the site|your app] [keeps saying|says] my password is [wrong|invalid]",
        "[I am|we are] [shut out of|locked out of] [my|our] [profile|customer area]",
        "[no matter what I type|whatever I enter], [the login refuses me|your page throws me out]",
    )),
    "close_account": ("account", (
        "[please|I want to|I would like to|can you] [close|delete|remove] my account",
        "[how|where] [do|can] I [delete|close] my [account|profile]",
        "[delete|remove|erase] all [my data|my personal data|my details][ please|]",
        "[I no longer|I do not] want [an account|to have an account] [with you|at your shop]",
        "[unsubscribe me|take me off your list] and [close|delete] my [account|profile]",
        "[I am leaving|I'm done with] your shop, [wipe|erase] my [profile|customer record]",
        "[my profile|everything you store about me] [should|must] [go|be gone|vanish]",
    )),
    "update_details": ("account", (
        "[please|can you|could you|I need to] [update|change|correct] my [e-mail address|phone number|name|billing address]",
        "my [phone number|e-mail|surname|last name] has changed[, please update it|]",
        "[I got married|I have a new e-mail] and [need to change|want to update] [my account|my details|my name]",
        "[the name|the e-mail] [in|on] my account is [wrong|misspelled|outdated]",
        "[how|where] [do|can] I [change|edit|update] my [details|data|contact details]",
        "you [still have|are still using] my old [number|e-mail|surname], [please replace it|put in the new one]",
        "[set|switch] my [contact address|telephone number] to [the new one|a new one]",
    )),
    "broken": ("technical", (
        "[the|my] {product} [stopped working|does not work|is not working|won't turn on|keeps crashing]",
        "[the|my] {product} [broke|died|failed] [on {date}|after two days|after a week|yesterday]",
        "[since {date}|for two days] [the|my] {product} [makes a strange noise|overheats|switches off by itself]",
        "[I have a problem|there is a problem|I am having trouble] with [the|my] {product}[, it will not start|]",
        "[the {product}|it] [shows an error|only blinks|has no power][ since {date}|]",
        "[something is wrong|there is something wrong] with [the|my] {product} [I bought on {date}|]",
        "[all of a sudden|out of nowhere] the {product} [went dead|gave up]",
        "the {product} [no longer|does not] [charge|respond|react] [at all|any more]",
        "[the repair|a repair] of my {product} [is needed|seems necessary], it [is dead|smells burnt]",
    )),
    "setup": ("technical", (
        "[how do|how can] I [set up|install|connect|configure] [the|my] {product}",
        "[I need help|please help|help me] [setting up|with setting up|installing|connecting] [the|my] {product}",
        "[the manual|the instructions] [of|for] the {product} [is missing|is not clear|does not help]",
        "[I cannot|I can't] [connect|pair] [the|my] {product} [to my phone|to the network|with my laptop]",
        "[is there|do you have] [a guide|a video|instructions] for the {product}",
        "[which cable|what adapter] [do I need|goes] [for|with] the {product}",
        "[could someone|can someone] [walk|guide] me through the first [steps|start] with the {product}",
        "[I do not understand|it is unclear to me] how the {product} [is put together|has to be mounted]",
    )),
    "product_question": ("sales", (
        "[is|will] the {product} [be |][in stock|available|back in stock][ again|][ by {date}|]",
        "[does|will] the {product} [fit|work with|come with] [a charger|my old one|a warranty|batteries]",
        "[what|which] [colours|sizes|materials] [does the {product} come in|are there for the {product}]",
        "[how long|how many years] is the warranty [of|on] the {product}",
        "[can you|could you] tell me [more about|the weight of|the size of] the {product}",
        "[what does|how much does] the {product} cost[ with delivery|]",
        "[I am thinking of|I am considering] [buying|getting] the {product}, is it [waterproof|dishwasher safe|any good]",
        "before I [decide|order], what is the {product} made of",
        "[do you still sell|are you still selling] the {product}, and [for what price|at what price]",
    )),
    "bulk_quote": ("sales", (
        "[we need|our company needs|our school needs] [forty|fifty|two hundred|a dozen] {product} units[, please send a quote|]",
        "[please send|could you send|can you make] [us |][a quote|an offer] for [fifty|thirty|a hundred] {product} units",
        "[do you offer|is there] a [discount|volume discount|reseller price] for [the {product}|large orders of the {product}]",
        "[we want|we plan] to [buy|order] the {product} in bulk[ by {date}|]",
        "[what is|what would be] your [best |]price for [sixty|a hundred] {product} units",
        "[for our offices|for our staff] we [look for|require] [some eighty|about ninety] {product} units, [what would you charge|name your price]",
        "[a larger|a big] order of the {product} is [planned|coming], [which rebate|what rebate] [do we get|can you give]",
    )),
    "praise": ("sales", (
        "[I just wanted|I want|I wanted] to [say thank you|thank you|say thanks] for the {product}",
        "[the {product} is|my {product} is] [wonderful|great|exactly what I wanted|perfect]",
        "[great|excellent|wonderful] [service|support|delivery][, the {product} came early|, order {order} was perfect|]",
        "[thank you|thanks] for [the quick help|sorting out order {order}|the fast delivery of the {product}]",
        "[my family loves|we love|I love] the {product}",
        "[hats off|well done] to your team, the {product} [is a joy|could not be better]",
        "[compliments|a big compliment] for order {order}, [everything was right|nothing to complain about]",
    )),
}

URGENCY = {
    "high": (
        "[this is|it is|it's] [very |really |]urgent", "[please|I need you to] [answer|reply|act] [as soon as possible|asap|right away|immediately|today]",
        "I need [this|it] [solved|fixed|sorted] [today|by tomorrow|right now|before the weekend]", "[it cannot wait|this can't wait|time is short]",
        "[we leave|I travel] tomorrow[ morning|], so [hurry|please hurry|be quick]", "[every hour counts|please treat this as an emergency]",
        "[this must|it has to] be [settled|done] within [the day|hours]", "[drop everything|top priority], please",
    ),
    "low": (
        "[no|there is no] [rush|hurry]", "[take your time|whenever you have time|when you get a chance]", "it is not urgent[ at all|]",
        "[it can|this can] wait[ until next week|]", "[just|only] when [it suits you|you find a moment]",
        "[any time|any day] [this month|next month] is [fine|early enough]", "[do not|no need to] [hurry|drop anything] for me",
    ),
    "normal": ("",),
}
SENTIMENT = {
    "negative": (
        "[I am|I'm] [very |really |so |][angry|upset|annoyed|frustrated|disappointed]", "[this is|that is] [unacceptable|ridiculous|a disgrace|terrible service]",
        "[I will never|never again will I] [order|buy] [here|from you] again", "[what a|such a] [mess|joke|disappointment]",
        "[I have had|I've had] enough", "[your support is|your shop is] [useless|hopeless|a disaster]",
        "[nobody|no one] [seems to care|answers me]", "[this leaves|it leaves] me [fuming|furious]", "[how can|how could] you [treat people like this|be so careless]",
    ),
    "positive": (
        "[I really|I] [like|love|enjoy] your shop", "[you have|you've] [always |]been [great|very kind|a big help]", "[thanks a lot|many thanks|thank you so much] for [your help|everything]",
        "[otherwise |]I am [very |really |][happy|pleased|satisfied] with [you|everything]", "[keep up|keep doing] the [good|great] work",
        "[it is always|it's always] a pleasure [with you|to shop here]", "[your people|your staff] are [lovely|so friendly]",
    ),
    "neutral": ("",),
}

GREETINGS = ("Hello", "Hi", "Hi there", "Dear team", "Dear Sir or Madam", "Good morning", "Good afternoon", "Hello support", "Hey", "Greetings", "To whom it may concern", "", "", "Good day", "Hello everyone", "Dear shop")
CLOSINGS = ("Best regards", "Kind regards", "Regards", "Thanks", "Thank you", "Best", "Cheers", "Yours sincerely", "Many thanks", "Sincerely", "Greetings", "With thanks", "All the best")
NAME_LINES = ("my name is {name}", "this is {name}", "I am {name}", "{name} here", "[the order|the account] is [under|in] the name {name}", "you know me as {name}", "[I go by|the customer is] {name}")
ORDER_LINES = ("[my|the] order [number|id] is {order}", "order {order}", "[it is|it's] about order {order}", "order no. {order}", "[reference|ref]: {order}", "[see|regarding] order {order}", "the number on [the bill|the slip] is {order}", "[filed|booked] under {order}")
DATE_LINES = ("[I ordered|I bought it|I placed the order] on {date}", "[it was|that was] on {date}", "date of [purchase|order]: {date}", "[the purchase|the order] [is from|dates from] {date}")
AMOUNT_LINES = ("[I paid|it cost|the price was] {amount}", "[the total|the sum] was {amount}", "amount: {amount}", "[that is|that makes] {amount} [gone|in all]")
FILLER = (
    "I have been a customer for [three|five|many] years", "[my sister|my neighbour|a friend] recommended your shop", "the weather [here |]has been [awful|lovely] lately",
    "[I hope|hope] you are [well|having a good day]", "[sorry|apologies] for the long message", "I [already |]called [once|twice] but the line was busy",
    "[it is|it was] a [present|gift] for my [daughter|father|colleague]", "[please|kindly] let me know", "[I look|looking] forward to your answer",
    "I wrote to you before", "[can you help|could you help me with this]", "[what should I do|what can be done]", "[I attach|attached is] a [photo|screenshot]",
    "our dog [ate|chewed] the box", "[we just moved|I just came back from holiday]", "[I have read|I read] the questions page", "[bear with me|excuse my English]", "my [son|wife] set the account up",
)

PRODUCTS = (
    "coffee machine", "desk lamp", "office chair", "water bottle", "running shoes", "rain jacket", "backpack", "headphones", "keyboard", "monitor",
    "standing desk", "kettle", "toaster", "blender", "frying pan", "bread knife", "garden hose", "lawn mower", "drill", "tent", "sleeping bag",
    "yoga mat", "bicycle helmet", "bike light", "phone case", "tablet", "e-reader", "speaker", "router", "webcam", "printer", "ink cartridge",
    "smart watch", "camera", "tripod", "wall clock", "bookshelf", "mattress", "pillow", "blanket", "curtain", "rug", "mirror", "candle holder",
    "tea set", "dinner plate", "wine glass", "cutlery set", "lunch box", "thermos", "umbrella", "suitcase", "wallet", "leather belt", "wool scarf",
    "sunglasses", "hiking boots", "sandals", "swim goggles", "tennis racket", "chess board", "puzzle", "baby monitor", "car seat", "stroller",
    "dog bed", "cat tree", "fish tank", "bird feeder", "space heater", "desk fan", "air purifier", "vacuum cleaner", "steam iron", "hair dryer",
    "electric razor", "toothbrush", "bathroom scale", "shower head", "towel rack", "paint roller", "tool box", "ladder", "extension cord", "power bank",
    "memory card", "hard drive", "graphics tablet", "game console", "board game", "guitar stand", "microphone", "music keyboard", "violin bow",
    "waffle iron", "rice cooker", "pasta maker", "salad bowl", "cutting board", "spice rack", "picnic basket", "hammock", "parasol", "fire pit",
    "garden bench", "flower pot", "watering can", "hedge trimmer", "snow shovel", "sled", "ski poles", "climbing rope", "compass", "head torch",
    "fountain pen", "notebook", "whiteboard", "paper shredder", "label printer", "filing cabinet", "foot rest", "door mat", "coat hanger", "shoe rack",
    "espresso grinder", "milk frother", "barbecue grill", "rocking chair", "bean bag", "telescope", "binoculars", "metronome", "sewing machine", "roller blind",
)
PRODUCT_MODELS = ("", "", "", "", "", " Pro", " X2", " Mini", " 3000", " Plus", " Classic", " S7", " Lite", " Max", " Nova", " V4", " Prime")

FIRST_NAMES = (
    "Anna", "Ben", "Carla", "David", "Elena", "Felix", "Greta", "Hugo", "Iris", "Jonas", "Karin", "Leo", "Maria", "Nils", "Olga", "Paul", "Quinn", "Rosa",
    "Simon", "Tara", "Uwe", "Vera", "Walter", "Xenia", "Yara", "Zoe", "Amir", "Bianca", "Chen", "Dario", "Esther", "Farid", "Gina", "Hassan", "Ingrid",
    "Jamal", "Kenji", "Lucia", "Mehmet", "Nadia", "Oscar", "Priya", "Rafael", "Sofia", "Tomas", "Ursula", "Viktor", "Wanda", "Yusuf", "Zara", "Alice",
    "Bruno", "Clara", "Diego", "Emma", "Frank", "Grace", "Henry", "Isabel", "Jack", "Kate", "Liam", "Mona", "Noah", "Olivia", "Peter", "Ruth", "Samir",
    "Theo", "Una", "Victor", "Wendy", "Aisha", "Boris", "Chloe", "Dmitri", "Eva", "Fatima", "Georg", "Hanna", "Ivan", "Julia", "Karl", "Laura", "Marco",
    "Nina", "Otto", "Pia", "Ravi", "Sara", "Tim", "Ulla", "Vince", "Willa", "Yvonne", "Zeno", "Anton", "Britta", "Colin", "Doris", "Edgar", "Fiona",
    "Milo", "Thandi", "Oisin", "Brynja", "Casper", "Delphine", "Ewa", "Florin", "Gwen", "Ines", "Jorge", "Kofi",
)
LAST_PARTS = (("Ash", "Bell", "Brook", "Clay", "Dun", "East", "Fair", "Glen", "Hart", "Kirk", "Lang", "Marsh", "North", "Oak", "Pem", "Red", "Stan", "Thorn", "Under", "Wake", "West", "Win", "York", "Alder", "Birk", "Cald", "Dray", "Elm", "Fen", "Gold", "Hazel", "Ken", "Lind", "Mill", "Orch", "Pend", "Rush", "Sand", "Til", "Wex"),
              ("ford", "ton", "well", "wood", "field", "ham", "ley", "man", "son", "berg", "stein", "er", "ing", "mere", "stead", "wick", "bury", "gate", "land", "more", "dale", "worth", "ell", "by", "den", "cott"))
LAST_NAMES = ("Okafor", "Nguyen", "Silva", "Rossi", "Kim", "Garcia", "Novak", "Haddad", "Jansen", "Petrov", "Tanaka", "Mbeki", "Larsen", "Costa", "Meyer", "Dubois", "Singh", "Yilmaz", "Kowalski", "Moreau", "Ivanova", "Santos", "Weber", "Ahmed", "Lopez", "Fischer", "Ricci", "Bauer", "Klein", "Popescu", "Horvat", "Eriksen", "Achebe", "Villanueva", "Quispe", "Zielinski")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

REPLY_ACTION = {
    "refund": ("We are sorry that it did not work out. Our returns team will check the refund and write to you.", "Our returns team will look into your refund and answer you by e-mail."),
    "return_item": ("Our returns team will send you the steps for the return.", "You will hear from our returns team about how to send it back."),
    "exchange": ("Our returns team will check the exchange and write to you.", "We have passed your wish for an exchange to our returns team."),
    "damaged": ("We are sorry that it arrived damaged. Our returns team will take care of it.", "That should not happen, and we are sorry. Our returns team will look into it."),
    "late_delivery": ("We are sorry for the wait. Our shipping team will find out where your parcel is.", "We are sorry that the delivery is late. Our shipping team is looking into it."),
    "track_order": ("Our shipping team will check where your parcel is and write to you.", "We will look up the status of your delivery and let you know."),
    "wrong_item": ("We are sorry about the mix-up. Our shipping team will check what went wrong.", "We are sorry that you got the wrong item. Our shipping team will sort it out."),
    "change_address": ("Our shipping team will check whether the address can still be changed.", "We have passed the new address request to our shipping team."),
    "cancel_order": ("Our shipping team will check whether the order can still be cancelled.", "We have passed your cancellation to our shipping team."),
    "double_charge": ("We are sorry about this. Our billing team will check the payments.", "Our billing team will look at both payments and write to you."),
    "invoice": ("Our billing team will check the invoice and send it to you by e-mail.", "We have asked our billing team for the invoice."),
    "payment_failed": ("We are sorry for the trouble. Our billing team will check the payment.", "Our billing team will find out why the payment failed."),
    "password": ("Our account team will help you to sign in again. Please never send us your password.", "We will help you to get back into your account. Please do not send us your password."),
    "close_account": ("Our account team will check your request and confirm it by e-mail.", "We have passed your request to our account team."),
    "update_details": ("Our account team will help you to change your details.", "We have passed the change to our account team."),
    "broken": ("We are sorry that it does not work. Our technical team will help you.", "Our technical team will look into the fault and write to you."),
    "setup": ("Our technical team will help you with the set-up.", "We have asked our technical team to guide you."),
    "product_question": ("Our sales team will gladly answer your question.", "Thank you for your interest. Our sales team will write to you."),
    "bulk_quote": ("Our sales team will prepare an offer for you.", "Thank you for your interest. Our sales team will send you an offer."),
    "praise": ("We are very glad to hear that and will tell the team.", "Your kind words mean a lot to us."),
}
REPLY_OPENING = ("thank you for your message{about}.", "thank you for writing to us{about}.", "thanks for getting in touch{about}.")
ORDER_STATUS = ("shipped", "in transit", "delivered", "being packed", "waiting for payment", "delayed", "cancelled")
ABOUT_ME = (
    ("who are you", "I am hearth, a small support desk model that runs on your own machine. I sort customer messages, extract details and draft short replies."),
    ("what can you do", "I sort customer messages by department, intent, urgency and sentiment, extract names, orders, amounts, dates and products, and draft short replies."),
    ("hello", "Hello! Send me a customer message and I will sort it, extract its details or draft a short reply."),
    ("hi", "Hello! Send me a customer message and I will sort it, extract its details or draft a short reply."),
    ("what are you", "I am hearth, a small model for the support desk. I know nothing beyond customer messages."),
    ("what is the capital of France", "I only handle support desk messages, so I cannot answer that."),
    ("write a poem", "I only handle support desk messages, so I cannot do that."),
    ("tell me a joke", "I only handle support desk messages, so I cannot do that."),
    ("what is two plus two", "I only handle support desk messages, so I cannot answer that."),
    ("who won the match", "I only handle support desk messages, so I cannot answer that."),
)
