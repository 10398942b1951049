%% The part of YAML that user data may use, read without a library: this runs before the release's own code, and may
%% call nothing but what is inside the emulator (preloaded modules and BIFs).
%%
%% Read are mappings and sequences, indented or in flow style ({..}, [..]), plain scalars, scalars in single or double
%% quotes, block scalars (| and >), comments and tags, over one document. Refused, with their line: anchors and aliases,
%% merge and complex keys (? key), directives, a second document, tabs as indentation, keys given twice, and whatever is
%% nested deeper than 32 levels. Plain scalars mean what they mean in YAML 1.1, which cloud-init follows (`yes` is true,
%% 0644 is octal).
%%
%% Values: {map, [{Key, Line, Value}]}, lists, binaries, integers, floats, true, false, null, {tag, Tag, Value}.
-module(unibeam_cloud_yaml).

-export([parse/1]).

-define(DEEPEST, 32).
%% A flow collection or a quoted scalar may go on over so many lines; looking for its end begins anew with each.
-define(LONGEST, 64).

%% {ok, Value}, or {error, Line, Why}.
parse(Bytes) ->
    try
        Text = case unicode:characters_to_binary(Bytes, utf8) of
            Whole when is_binary(Whole) -> Whole;
            {_, Good, _} -> refuse(count_lines(Good), "this is not UTF-8")
        end,
        document(number(binary:split(Text, <<"\n">>, [global]), 1))
    catch
        throw:{yaml, Line, Why} -> {error, Line, Why}
    end.

refuse(Line, Why) ->
    throw({yaml, Line, Why}).

count_lines(Text) ->
    length(binary:matches(Text, <<"\n">>)) + 1.

%% A line is {Number, Indent, Text without indentation}; -1 stands for a line without anything on it.
number([Line | Rest], Number) ->
    Text = trim_right(Line),
    check_controls(Text, Number),
    Body = trim_left(Text),
    Indent = case Body of <<>> -> -1; _ -> byte_size(Text) - byte_size(Body) end,
    [{Number, Indent, Body} | number(Rest, Number + 1)];
number([], _) ->
    [].

check_controls(<<Byte, _/binary>>, Number) when Byte < 32, Byte =/= $\t; Byte =:= 127 ->
    refuse(Number, "there is a control character");
check_controls(<<_, Rest/binary>>, Number) -> check_controls(Rest, Number);
check_controls(<<>>, _) -> ok.

document(Lines) ->
    case skip(Lines) of
        [{_, 0, <<"---">>} | Rest] -> whole(Rest);
        [{Number, 0, <<"--- ", Text/binary>>} | Rest] ->
            case uncommented(Text) of
                <<>> -> whole(Rest);
                _ -> refuse(Number, "nothing may follow --- on its line")
            end;
        [{Number, 0, <<"%", _/binary>>} | _] -> refuse(Number, "directives are not read");
        Rest -> whole(Rest)
    end.

whole(Lines) ->
    {Value, Rest} = block(to_its_end(Lines), 0, 0),
    case skip(Rest) of
        [] -> {ok, Value};
        [{Line, _, _} | _] -> refuse(Line, "this is indented unlike what it belongs to")
    end.

to_its_end([{_, 0, <<"...">>} | _]) -> [];
to_its_end([{Line, 0, <<"---">>} | _]) -> refuse(Line, "there is a second document");
to_its_end([{Line, 0, <<"--- ", _/binary>>} | _]) -> refuse(Line, "there is a second document");
to_its_end([Line | Rest]) -> [Line | to_its_end(Rest)];
to_its_end([]) -> [].

%% Blank lines and comments mean nothing between nodes.
skip([{_, -1, _} | Rest]) -> skip(Rest);
skip([{_, _, <<"#", _/binary>>} | Rest]) -> skip(Rest);
skip([{Line, _, <<"\t", _/binary>>} | _]) -> refuse(Line, "a tab cannot indent");
skip(Lines) -> Lines.

%% The node that begins at an indentation of at least Least; null where there is none.
block(Lines, Least, Depth) ->
    case skip(Lines) of
        [{_, Indent, _} | _] = Here when Indent < Least -> {null, Here};
        [] -> {null, []};
        [{Line, _, _} | _] when Depth > ?DEEPEST -> refuse(Line, "it is nested too deep");
        [{Line, Indent, Text} | Rest] = Here ->
            case starts(Text, Line) of
                item -> items(Here, Indent, Depth, []);
                {key, _, _} -> pairs(Here, Indent, Depth, []);
                scalar -> value(Text, Line, Rest, Least - 1, Depth)
            end
    end.

starts(<<"-">>, _) -> item;
starts(<<"- ", _/binary>>, _) -> item;
starts(<<"?">>, Line) -> refuse(Line, "complex keys are not read");
starts(<<"? ", _/binary>>, Line) -> refuse(Line, "complex keys are not read");
starts(Text, Line) ->
    case key(Text, Line) of
        none -> scalar;
        {Key, Rest} -> {key, Key, Rest}
    end.

items([{Line, Indent, <<"-", Text/binary>>} | Rest], Indent, Depth, Done)
        when Text =:= <<>>; binary_part(Text, 0, 1) =:= <<" ">> ->
    Body = trim_left(Text),
    {Value, Left} = case Body of
        <<>> -> block(Rest, Indent + 1, Depth + 1);
        <<"#", _/binary>> -> block(Rest, Indent + 1, Depth + 1);
        _ ->
            Inner = Indent + 1 + byte_size(Text) - byte_size(Body),
            case starts(Body, Line) of
                scalar -> value(Body, Line, Rest, Indent, Depth);
                _ -> block([{Line, Inner, Body} | Rest], Inner, Depth + 1)
            end
    end,
    items(skip(Left), Indent, Depth, [Value | Done]);
items(Lines, _, _, Done) ->
    {reverse(Done), Lines}.

pairs([{Line, Indent, Text} | Rest] = Here, Indent, Depth, Done) ->
    case starts(Text, Line) of
        {key, <<"<<">>, _} -> refuse(Line, "merge keys are not read");
        {key, Key, Tail} ->
            lists:keymember(Key, 1, Done) andalso refuse(Line, ["the key ", Key, " is there twice"]),
            {Value, Left} = value(Tail, Line, Rest, Indent, Depth),
            pairs(skip(Left), Indent, Depth, [{Key, Line, Value} | Done]);
        item -> {{map, reverse(Done)}, Here};
        scalar -> refuse(Line, "this is neither 'key: value' nor '- item'")
    end;
pairs(Lines, _, _, Done) ->
    {{map, reverse(Done)}, Lines}.

%% A key at the start of a line, and what follows its colon; none where the line has no key.
key(<<Quote, _/binary>> = Text, Line) when Quote =:= $"; Quote =:= $' ->
    case quoted(Text, Line) of
        {Key, <<":">>} -> {Key, <<>>};
        {Key, <<": ", Rest/binary>>} -> {Key, trim_left(Rest)};
        _ -> none
    end;
key(<<Byte, _/binary>>, _) when Byte =:= $[; Byte =:= ${; Byte =:= $#; Byte =:= $|; Byte =:= $>; Byte =:= $! ->
    none;
key(<<Byte, _/binary>>, Line) when Byte =:= $&; Byte =:= $* ->
    refuse(Line, "anchors and aliases are not read");
key(<<Byte, _/binary>>, Line) when Byte =:= $@; Byte =:= $`; Byte =:= $%; Byte =:= $,; Byte =:= $]; Byte =:= $} ->
    refuse(Line, ["a plain value cannot begin with ", Byte]);
key(Text, _) ->
    Plain = uncommented(Text),
    case binary:match(Plain, <<": ">>) of
        {At, _} -> {trim_right(binary:part(Text, 0, At)), trim_left(after_byte(Text, At + 1))};
        nomatch ->
            case Plain =/= <<>> andalso binary:part(Plain, byte_size(Plain) - 1, 1) of
                <<":">> -> {trim_right(binary:part(Plain, 0, byte_size(Plain) - 1)), <<>>};
                _ -> none
            end
    end.

after_byte(Text, At) ->
    binary:part(Text, At, byte_size(Text) - At).

%% What stands behind a key or a dash; Indent is that of the key.
value(Text, Line, Rest, Indent, Depth) ->
    case Text of
        <<>> -> below(Rest, Indent, Depth);
        <<"#", _/binary>> -> below(Rest, Indent, Depth);
        <<Byte, _/binary>> when Byte =:= $&; Byte =:= $* -> refuse(Line, "anchors and aliases are not read");
        <<Byte, _/binary>> when Byte =:= $@; Byte =:= $`; Byte =:= $% ->
            refuse(Line, ["a plain value cannot begin with ", Byte]);
        <<"!", _/binary>> ->
            {Tag, Behind} = word(Text),
            {Value, Left} = value(Behind, Line, Rest, Indent, Depth),
            {{tag, Tag, Value}, Left};
        <<Style, Header/binary>> when Style =:= $|; Style =:= $> ->
            literal(Style, uncommented(Header), Line, Rest, Indent);
        <<Byte, _/binary>> when Byte =:= $"; Byte =:= $'; Byte =:= $[; Byte =:= ${ ->
            spanning(Text, Line, Line, Rest, Indent, Depth, ?LONGEST);
        _ ->
            Plain = uncommented(Text),
            binary:match(Plain, <<": ">>) =/= nomatch andalso
                refuse(Line, "a value with ': ' in it needs quotes"),
            %% A comment ends a plain scalar.
            case byte_size(Plain) =:= byte_size(Text) of
                true ->
                    {Whole, Left} = continued(Plain, Rest, Indent),
                    {scalar(Whole), Left};
                false -> {scalar(Plain), Rest}
            end
    end.

%% A sequence may stand below its key without further indentation.
below(Rest, Indent, Depth) ->
    case skip(Rest) of
        [{_, Indent, <<"-">>} | _] = Here -> items(Here, Indent, Depth + 1, []);
        [{_, Indent, <<"- ", _/binary>>} | _] = Here -> items(Here, Indent, Depth + 1, []);
        Here -> block(Here, Indent + 1, Depth + 1)
    end.

word(Text) ->
    case binary:match(Text, <<" ">>) of
        nomatch -> {Text, <<>>};
        {At, _} -> {binary:part(Text, 0, At), trim_left(after_byte(Text, At))}
    end.

%% Further lines of a plain scalar: a line end is a blank, an empty line a line end.
continued(Text, [{Line, Indent, More} | Rest], Least) when Indent > Least ->
    case More of
        <<"#", _/binary>> -> {Text, Rest};
        _ ->
            Plain = uncommented(More),
            key(More, Line) =/= none andalso refuse(Line, "this is neither 'key: value' nor '- item'"),
            Blank = case binary:last(<<" ", Text/binary>>) of $\n -> <<>>; _ -> <<" ">> end,
            continued(<<Text/binary, Blank/binary, Plain/binary>>, Rest, Least)
    end;
continued(Text, [{_, -1, _} | Rest] = Here, Least) ->
    case skip_blank(Rest) of
        [{_, Indent, <<First, _/binary>>} | _] = Left when Indent > Least, First =/= $# ->
            continued(<<Text/binary, "\n">>, Left, Least);
        _ -> {Text, Here}
    end;
continued(Text, Lines, _) ->
    {Text, Lines}.

skip_blank([{_, -1, _} | Rest]) -> skip_blank(Rest);
skip_blank(Lines) -> Lines.

%% ---- block scalars -------------------------------------------------------------------------------------

literal(Style, Header, Line, Rest, Indent) ->
    {Chomp, Given} = header(Header, Line, clip, 0),
    {Lines, Left} = literal_lines(Rest, Indent, []),
    Least = case Given of
        0 -> first_indent(Lines, Indent + 1);
        _ -> max(Indent, 0) + Given
    end,
    Texts = [literal_text(One, Least) || One <- Lines],
    Joined = case Style of $| -> joined(Texts); $> -> folded(Texts) end,
    {chomp(Chomp, Joined), Left}.

header(<<>>, _, Chomp, Given) -> {Chomp, Given};
header(<<"-", Rest/binary>>, Line, clip, Given) -> header(Rest, Line, strip, Given);
header(<<"+", Rest/binary>>, Line, clip, Given) -> header(Rest, Line, keep, Given);
header(<<Digit, Rest/binary>>, Line, Chomp, 0) when Digit >= $1, Digit =< $9 -> header(Rest, Line, Chomp, Digit - $0);
header(_, Line, _, _) -> refuse(Line, "this is no block scalar").

literal_lines([{_, Indent, _} = One | Rest], Least, Done) when Indent =:= -1; Indent > Least ->
    literal_lines(Rest, Least, [One | Done]);
literal_lines(Lines, _, Done) ->
    {reverse(Done), Lines}.

first_indent([{_, -1, _} | Rest], Otherwise) -> first_indent(Rest, Otherwise);
first_indent([{_, Indent, _} | _], _) -> Indent;
first_indent([], Otherwise) -> Otherwise.

literal_text({_, -1, _}, _) -> <<>>;
literal_text({Line, Indent, _}, Least) when Indent < Least -> refuse(Line, "this is indented less than its text");
literal_text({_, Indent, Text}, Least) -> <<(binary:copy(<<" ">>, Indent - Least))/binary, Text/binary>>.

joined(Texts) ->
    << <<Text/binary, "\n">> || Text <- Texts >>.

%% Lines at the text's own indentation flow together; blank ones and those further in keep their ends.
folded([<<>> | Rest]) -> <<"\n", (folded(Rest))/binary>>;
folded([One | Rest]) ->
    {Blank, Others} = blanks(Rest, 0),
    Ends = case Others of
        [] -> Blank + 1;
        [Next | _] ->
            case plain(One) andalso plain(Next) of
                true -> Blank;
                false -> Blank + 1
            end
    end,
    End = case Ends of 0 -> <<" ">>; _ -> binary:copy(<<"\n">>, Ends) end,
    <<One/binary, End/binary, (folded(Others))/binary>>;
folded([]) -> <<>>.

blanks([<<>> | Rest], Count) -> blanks(Rest, Count + 1);
blanks(Lines, Count) -> {Count, Lines}.

plain(<<" ", _/binary>>) -> false;
plain(_) -> true.

chomp(keep, Text) -> Text;
chomp(Chomp, Text) ->
    case {trim_ends(Text), Chomp} of
        {<<>>, _} -> <<>>;
        {Bare, strip} -> Bare;
        {Bare, clip} -> <<Bare/binary, "\n">>
    end.

trim_ends(Text) ->
    case Text =/= <<>> andalso binary:last(Text) of
        $\n -> trim_ends(binary:part(Text, 0, byte_size(Text) - 1));
        _ -> Text
    end.

%% ---- flow style and quotes --------------------------------------------------------------------------------

spanning(_, Began, _, _, _, _, 0) ->
    refuse(Began, "what begins here does not end within 64 lines");
spanning(Text, Began, Line, Rest, Indent, Depth, Left) ->
    case flow(Text, Began, Depth) of
        more ->
            case Rest of
                [] -> refuse(Began, "what begins here does not end");
                [{Next, _, More} | Others] ->
                    spanning(<<Text/binary, "\n", More/binary>>, Began, Next, Others, Indent, Depth, Left - 1)
            end;
        {Value, Behind} ->
            case uncommented(trim_left(Behind)) of
                <<>> -> {Value, Rest};
                <<":", _/binary>> -> refuse(Line, "such a key is not read");
                _ -> refuse(Line, "something follows the end of a value")
            end
    end.

flow(_, Line, Depth) when Depth > ?DEEPEST -> refuse(Line, "it is nested too deep");
flow(<<"[", Rest/binary>>, Line, Depth) -> flow_items(trim_space(Rest), Line, Depth + 1, []);
flow(<<"{", Rest/binary>>, Line, Depth) -> flow_pairs(trim_space(Rest), Line, Depth + 1, []);
flow(<<Quote, _/binary>> = Text, Line, _) when Quote =:= $"; Quote =:= $' -> quoted(Text, Line);
flow(<<Byte, _/binary>>, Line, _) when Byte =:= $&; Byte =:= $* -> refuse(Line, "anchors and aliases are not read");
flow(<<"!", _/binary>> = Text, Line, Depth) ->
    {Tag, Rest} = word(Text),
    case flow(Rest, Line, Depth + 1) of
        more -> more;
        {Value, Left} -> {{tag, Tag, Value}, Left}
    end;
flow(Text, _, _) ->
    case until(Text, 0) of
        more -> more;
        At -> {scalar(one_line(trim_right(binary:part(Text, 0, At)))), after_byte(Text, At)}
    end.

one_line(Text) ->
    << <<(case Byte of $\n -> $\s; _ -> Byte end)>> || <<Byte>> <= Text >>.

flow_items(<<>>, _, _, _) -> more;
flow_items(<<"]", Rest/binary>>, _, _, Done) -> {reverse(Done), Rest};
flow_items(Text, Line, Depth, Done) ->
    case flow(Text, Line, Depth) of
        more -> more;
        {Value, Rest} ->
            case trim_space(Rest) of
                <<>> -> more;
                <<",", More/binary>> -> flow_items(trim_space(More), Line, Depth, [Value | Done]);
                <<"]", More/binary>> -> {reverse([Value | Done]), More};
                <<":", More/binary>> -> flow_single(Value, More, Line, Depth, Done);
                _ -> refuse(Line, "a comma or ] is missing")
            end
    end.

%% [key: value] is a list of one mapping of one pair.
flow_single(Key, Text, Line, Depth, Done) when is_binary(Key) ->
    case flow(trim_space(Text), Line, Depth) of
        more -> more;
        {Value, Rest} ->
            One = {map, [{Key, Line, Value}]},
            case trim_space(Rest) of
                <<>> -> more;
                <<",", More/binary>> -> flow_items(trim_space(More), Line, Depth, [One | Done]);
                <<"]", More/binary>> -> {reverse([One | Done]), More};
                _ -> refuse(Line, "a comma or ] is missing")
            end
    end;
flow_single(_, _, Line, _, _) ->
    refuse(Line, "such a key is not read").

flow_pairs(<<>>, _, _, _) -> more;
flow_pairs(<<"}", Rest/binary>>, _, _, Done) -> {{map, reverse(Done)}, Rest};
flow_pairs(Text, Line, Depth, Done) ->
    case flow_key(Text, Line) of
        more -> more;
        {Key, Rest} ->
            lists:keymember(Key, 1, Done) andalso refuse(Line, ["the key ", Key, " is there twice"]),
            flow_pair(Key, trim_space(Rest), Line, Depth, Done)
    end.

flow_pair(_, <<>>, _, _, _) -> more;
flow_pair(Key, <<":", Rest/binary>>, Line, Depth, Done) ->
    case flow(trim_space(Rest), Line, Depth) of
        more -> more;
        {Value, Left} -> flow_next(trim_space(Left), Line, Depth, [{Key, Line, Value} | Done])
    end;
flow_pair(Key, Rest, Line, Depth, Done) ->
    flow_next(Rest, Line, Depth, [{Key, Line, null} | Done]).

flow_next(<<>>, _, _, _) -> more;
flow_next(<<",", Rest/binary>>, Line, Depth, Done) -> flow_pairs(trim_space(Rest), Line, Depth, Done);
flow_next(<<"}", Rest/binary>>, _, _, Done) -> {{map, reverse(Done)}, Rest};
flow_next(_, Line, _, _) -> refuse(Line, "a comma or } is missing").

flow_key(<<Quote, _/binary>> = Text, Line) when Quote =:= $"; Quote =:= $' -> quoted(Text, Line);
flow_key(<<Byte, _/binary>>, Line) when Byte =:= $[; Byte =:= ${ -> refuse(Line, "such a key is not read");
flow_key(<<"?", Byte, _/binary>>, Line) when Byte =:= $\s; Byte =:= $\n -> refuse(Line, "complex keys are not read");
flow_key(Text, _) ->
    case until(Text, 0) of
        more -> more;
        At -> {one_line(trim_right(binary:part(Text, 0, At))), after_byte(Text, At)}
    end.

%% Where a plain scalar in a flow collection ends.
until(Text, At) when At >= byte_size(Text) -> more;
until(Text, At) ->
    case binary:at(Text, At) of
        Byte when Byte =:= $,; Byte =:= $]; Byte =:= $}; Byte =:= $[; Byte =:= ${ -> At;
        Byte when Byte =:= $\s; Byte =:= $\n ->
            case At + 1 < byte_size(Text) andalso binary:at(Text, At + 1) of
                $# -> At;
                _ -> until(Text, At + 1)
            end;
        $: ->
            case At + 1 < byte_size(Text) andalso binary:at(Text, At + 1) of
                false -> more;
                Next when Next =:= $\s; Next =:= $\n; Next =:= $,; Next =:= $]; Next =:= $} -> At;
                _ -> until(Text, At + 1)
            end;
        _ -> until(Text, At + 1)
    end.

%% A quoted scalar and what follows it; more where its end is not there.
quoted(<<"'", Rest/binary>>, _) -> single(Rest, <<>>);
quoted(<<"\"", Rest/binary>>, Line) -> double(Rest, Line, <<>>).

single(<<"''", Rest/binary>>, Done) -> single(Rest, <<Done/binary, "'">>);
single(<<"'", Rest/binary>>, Done) -> {Done, Rest};
single(<<"\n", Rest/binary>>, Done) ->
    {Ends, More} = line_ends(Rest, 0),
    single(More, <<(trim_right(Done))/binary, Ends/binary>>);
single(<<Byte, Rest/binary>>, Done) -> single(Rest, <<Done/binary, Byte>>);
single(<<>>, _) -> more.

double(<<"\"", Rest/binary>>, _, Done) -> {Done, Rest};
double(<<"\n", Rest/binary>>, Line, Done) ->
    {Ends, More} = line_ends(Rest, 0),
    double(More, Line, <<(trim_right(Done))/binary, Ends/binary>>);
double(<<"\\", Rest/binary>>, Line, Done) ->
    case Rest of
        %% An escaped line end is none. Blank lines behind it count all the same.
        <<"\n", More/binary>> ->
            case line_ends(More, 0) of
                {<<" ">>, Text} -> double(Text, Line, Done);
                {Ends, Text} -> double(Text, Line, <<Done/binary, Ends/binary>>)
            end;
        <<"x", Hex:2/binary, More/binary>> -> double(More, Line, <<Done/binary, (code(Hex, Line))/utf8>>);
        <<"u", Hex:4/binary, More/binary>> -> double(More, Line, <<Done/binary, (code(Hex, Line))/utf8>>);
        <<"U", Hex:8/binary, More/binary>> -> double(More, Line, <<Done/binary, (code(Hex, Line))/utf8>>);
        <<Byte, More/binary>> -> double(More, Line, <<Done/binary, (escaped(Byte, Line))/binary>>);
        <<>> -> more
    end;
double(<<Byte, Rest/binary>>, Line, Done) -> double(Rest, Line, <<Done/binary, Byte>>);
double(<<>>, _, _) -> more.

%% A line end in quotes is a blank, blank lines behind it are line ends.
line_ends(<<"\n", Rest/binary>>, Count) -> line_ends(Rest, Count + 1);
line_ends(Rest, 0) -> {<<" ">>, Rest};
line_ends(Rest, Count) -> {binary:copy(<<"\n">>, Count), Rest}.

code(Hex, Line) ->
    case catch binary_to_integer(Hex, 16) of
        Code when is_integer(Code), Code >= 0, Code < 16#d800 -> Code;
        Code when is_integer(Code), Code > 16#dfff, Code < 16#110000 -> Code;
        _ -> refuse(Line, "there is an escape that stands for no character")
    end.

escaped($n, _) -> <<"\n">>;
escaped($t, _) -> <<"\t">>;
escaped($r, _) -> <<"\r">>;
escaped($0, _) -> <<0>>;
escaped($a, _) -> <<7>>;
escaped($b, _) -> <<8>>;
escaped($e, _) -> <<27>>;
escaped($f, _) -> <<12>>;
escaped($v, _) -> <<11>>;
escaped($N, _) -> <<16#85/utf8>>;
escaped($_, _) -> <<16#a0/utf8>>;
escaped($L, _) -> <<16#2028/utf8>>;
escaped($P, _) -> <<16#2029/utf8>>;
escaped(Byte, _) when Byte =:= $"; Byte =:= $\\; Byte =:= $/; Byte =:= $\s -> <<Byte>>;
escaped(Byte, Line) -> refuse(Line, ["\\", Byte, " is not an escape"]).

%% ---- scalars ----------------------------------------------------------------------------------------------

scalar(Text) ->
    case lists:keyfind(lower(Text), 1, [
            {<<>>, null}, {<<"~">>, null}, {<<"null">>, null}, {<<"true">>, true}, {<<"yes">>, true}, {<<"on">>, true},
            {<<"false">>, false}, {<<"no">>, false}, {<<"off">>, false}]) of
        {_, Value} -> Value;
        false -> number(Text)
    end.

number(<<"0x", Hex/binary>> = Text) -> number(Hex, 16, Text);
number(<<"0", Digit, _/binary>> = Text) when Digit >= $0, Digit =< $9 -> number(Text, 8, Text);
number(<<First, _/binary>> = Text) when First >= $0, First =< $9; First =:= $-; First =:= $+ ->
    case number(Text, 10, Text) of
        Text ->
            try binary_to_float(Text)
            catch error:badarg -> Text
            end;
        Integer -> Integer
    end;
number(Text) -> Text.

number(<<Sign, _/binary>>, Base, Text) when Base =/= 10, (Sign =:= $- orelse Sign =:= $+) -> Text;
number(Digits, Base, Text) ->
    try binary_to_integer(Digits, Base)
    catch error:badarg -> Text
    end.

%% ---- text -------------------------------------------------------------------------------------------------

%% The text up to a comment, without blanks at its end. In a comment's place # follows a blank.
uncommented(<<"#", _/binary>>) -> <<>>;
uncommented(Text) ->
    case binary:match(Text, <<" #">>) of
        nomatch -> trim_right(Text);
        {At, _} ->
            %% A # in quotes is none; whoever quotes here is a plain scalar with quotes inside.
            trim_right(binary:part(Text, 0, At))
    end.

trim_left(<<" ", Rest/binary>>) -> trim_left(Rest);
trim_left(Text) -> Text.

trim_space(<<Byte, "#", Rest/binary>>) when Byte =:= $\s; Byte =:= $\n ->
    case binary:match(Rest, <<"\n">>) of
        nomatch -> <<>>;
        {At, _} -> trim_space(after_byte(Rest, At))
    end;
trim_space(<<Byte, Rest/binary>>) when Byte =:= $\s; Byte =:= $\n; Byte =:= $\t -> trim_space(Rest);
trim_space(Text) -> Text.

trim_right(Text) ->
    case Text =/= <<>> andalso binary:last(Text) of
        Byte when Byte =:= $\s; Byte =:= $\t; Byte =:= $\r -> trim_right(binary:part(Text, 0, byte_size(Text) - 1));
        _ -> Text
    end.

lower(Text) ->
    << <<(case Byte of _ when Byte >= $A, Byte =< $Z -> Byte + 32; _ -> Byte end)>> || <<Byte>> <= Text >>.

reverse(List) ->
    lists:reverse(List, []).
