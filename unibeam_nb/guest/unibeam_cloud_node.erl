%% The section erlang of user data: node name, cookie, lines of vm.args, the environment of applications. It becomes
%% another command line for the release, and a configuration file that this names last, so that it wins.
-module(unibeam_cloud_node).

-export([checked/2, outcome/3]).

%% Words of vm.args that would take the release's own start away.
-define(TAKEN, [<<"-boot">>, <<"-boot_var">>, <<"-mode">>, <<"-root">>, <<"-bindir">>, <<"-extra">>, <<"-args_file">>,
                <<"--">>, <<"-init_debug">>, <<"-noinput">>, <<"-noshell">>, <<"-loader">>, <<"-hosts">>]).
%% Flags of which the emulator uses the first, or refuses a second.
-define(SINGLE, [<<"-name">>, <<"-sname">>, <<"-setcookie">>, <<"-epmd_module">>, <<"-start_epmd">>]).

%% ---- looking ----------------------------------------------------------------------------------------------

%% The section as a map with the keys that are there: node, cookie, words, config. Throws {refuse, Line, Why}.
checked({map, Pairs}, _) ->
    each(Pairs, #{});
checked(null, _) ->
    #{};
checked(_, Line) ->
    refuse(Line, "erlang is a mapping with node, cookie, vm_args and env").

refuse(Line, Why) ->
    throw({refuse, Line, Why}).

each([{Key, Line, Value} | Rest], Done) -> each(Rest, maps:merge(Done, one(Key, Line, Value)));
each([], Done) -> Done.

one(<<"node">>, Line, Name) ->
    is_binary(Name) andalso is_node_name(binary:split(Name, <<"@">>, [global])) orelse
        refuse(Line, "this is no node name"),
    #{node => Name};
one(<<"cookie">>, Line, Cookie) when is_binary(Cookie), Cookie =/= <<>>, byte_size(Cookie) < 256 ->
    [] =:= [Byte || <<Byte>> <= Cookie, Byte =< 32 orelse Byte > 126] andalso binary:first(Cookie) =/= $- orelse
        refuse(Line, "a cookie is printable ASCII without blanks, and does not begin with -"),
    #{cookie => Cookie};
one(<<"cookie">>, Line, _) ->
    refuse(Line, "this is no cookie; put it in quotes");
one(<<"vm_args">>, Line, Value) ->
    Lines = case Value of
        _ when is_binary(Value) -> binary:split(Value, <<"\n">>, [global]);
        _ when is_list(Value) -> [text(Each, Line) || Each <- Value];
        _ -> refuse(Line, "vm_args is text, or a list of lines")
    end,
    #{words => checked_words(append([words(Each, Line) || Each <- Lines]), Line)};
one(<<"env">>, _, {map, Applications}) ->
    #{config => ["[", separated([application(App, Line, Value) || {App, Line, Value} <- Applications]), "].\n"]};
one(<<"env">>, Line, _) ->
    refuse(Line, "env is a mapping of applications to their keys and values");
one(Key, Line, _) ->
    refuse(Line, ["erlang has no ", Key, "; it has node, cookie, vm_args and env"]).

text(Text, _) when is_binary(Text) -> Text;
text(_, Line) -> refuse(Line, "vm_args is text, or a list of lines").

is_node_name([Name]) -> is_part(Name, "_-");
is_node_name([Name, Host]) -> is_part(Name, "_-") andalso is_part(Host, ".-");
is_node_name(_) -> false.

is_part(<<>>, _) -> false;
is_part(<<"-", _/binary>>, _) -> false;
is_part(Text, Also) ->
    byte_size(Text) < 128 andalso
        [] =:= [Byte || <<Byte>> <= Text, not (Byte >= $a andalso Byte =< $z orelse Byte >= $A andalso Byte =< $Z
                                               orelse Byte >= $0 andalso Byte =< $9 orelse lists:member(Byte, Also))].

checked_words(Words, Line) ->
    _ = [refuse(Line, [Word, " is not for user data to say"]) || Word <- Words, lists:member(Word, ?TAKEN)],
    case Words of
        [<<First, _/binary>> | _] when First =/= $-, First =/= $+ -> refuse(Line, "vm_args begins with no flag");
        _ -> Words
    end.

%% The words of one line as erl reads them: blanks part them, quotes hold them together, # at a word's start ends it.
words(<<Byte, Rest/binary>>, Line) when Byte =:= $\s; Byte =:= $\t; Byte =:= $\r -> words(Rest, Line);
words(<<"#", _/binary>>, _) -> [];
words(<<>>, _) -> [];
words(Text, Line) ->
    {Word, Rest} = one_word(Text, none, <<>>, Line),
    [Word | words(Rest, Line)].

one_word(<<Quote, Rest/binary>>, none, Done, Line) when Quote =:= $"; Quote =:= $' -> one_word(Rest, Quote, Done, Line);
one_word(<<Quote, Rest/binary>>, Quote, Done, Line) -> one_word(Rest, none, Done, Line);
one_word(<<Byte, _/binary>> = Rest, none, Done, _) when Byte =:= $\s; Byte =:= $\t; Byte =:= $\r -> {Done, Rest};
one_word(<<"\n", _/binary>>, _, _, Line) -> refuse(Line, "a word of vm_args has a line end in it");
one_word(<<Byte, Rest/binary>>, Quote, Done, Line) -> one_word(Rest, Quote, <<Done/binary, Byte>>, Line);
one_word(<<>>, none, Done, _) -> {Done, <<>>};
one_word(<<>>, _, _, Line) -> refuse(Line, "a quote in vm_args does not end").

%% ---- terms ------------------------------------------------------------------------------------------------

application(App, Line, {map, Pairs}) ->
    ["{", atom(App, Line), ",", pairs(Pairs), "}"];
application(_, Line, _) ->
    refuse(Line, "an application's environment is a mapping").

%% A value of YAML as Erlang writes it: text is a string unless its tag says otherwise.
term(null, _) -> "undefined";
term(true, _) -> "true";
term(false, _) -> "false";
term(Number, _) when is_integer(Number) -> integer_to_list(Number);
term(Number, _) when is_float(Number) -> float_to_list(Number, [{scientific, 17}]);
term(Text, Line) when is_binary(Text) -> ["\"", escaped(Text, Line), "\""];
term(List, Line) when is_list(List) -> ["[", separated([term(Each, Line) || Each <- List]), "]"];
term({map, Pairs}, _) -> pairs(Pairs);
term({tag, <<"!atom">>, Text}, Line) when is_binary(Text) -> atom(Text, Line);
term({tag, <<"!atom">>, Flag}, _) when is_boolean(Flag) -> atom_to_list(Flag);
term({tag, <<"!binary">>, Text}, Line) when is_binary(Text) -> ["<<\"", escaped(Text, Line), "\"/utf8>>"];
term({tag, <<"!tuple">>, List}, Line) when is_list(List) ->
    ["{", separated([term(Each, Line) || Each <- List]), "}"];
term({tag, <<"!!str">>, Text}, Line) when is_binary(Text) -> term(Text, Line);
term({tag, Tag, _}, Line) ->
    refuse(Line, [Tag, " does not fit its value, or is none of !atom, !binary, !tuple"]).

pairs(Pairs) ->
    ["[", separated([["{", atom(Key, At), ",", term(Value, At), "}"] || {Key, At, Value} <- Pairs]), "]"].

atom(Text, Line) ->
    byte_size(Text) > 0 andalso byte_size(Text) < 256 orelse refuse(Line, "an atom has 1 to 255 bytes"),
    ["'", escaped(Text, Line), "'"].

%% Plain ASCII, so that the file needs no encoding.
escaped(Text, Line) ->
    case unicode:characters_to_list(Text, utf8) of
        Codes when is_list(Codes) -> [escape(Code) || Code <- Codes];
        _ -> refuse(Line, "this is not UTF-8")
    end.

escape(Code) when Code < 32; Code > 126; Code =:= $"; Code =:= $'; Code =:= $\\ ->
    ["\\x{", integer_to_list(Code, 16), "}"];
escape(Code) -> Code.

separated([]) -> [];
separated([First | Rest]) -> [First | [[",", Each] || Each <- Rest]].

append([List | Rest]) -> List ++ append(Rest);
append([]) -> [].

%% ---- the command line ---------------------------------------------------------------------------------------

%% Pairs of a file in /run/unibeam and its text.
outcome(Section, _, _) when map_size(Section) =:= 0 ->
    [];
outcome(Asked, Hostname, Root) ->
    {ok, Text} = prim_file:read_file(Root ++ "/etc/unibeam/argv"),
    Argv = case lists:reverse(binary:split(Text, <<"\n">>, [global]), []) of
        [<<>> | Lines] -> lists:reverse(Lines, []);
        Lines -> lists:reverse(Lines, [])
    end,
    Section = without_node(Asked, Argv, Root),
    Node = node_words(Section, Hostname, Argv),
    Config = case Section of #{config := _} -> [<<"-config">>, <<"/run/unibeam/cloud">>]; _ -> [] end,
    Words = case maps_get(words, Section) of none -> []; Given -> Given end,
    Plain = edited(Argv, Node ++ Config, Section),
    [{"argv", lines(edited(Argv, Node ++ Config ++ Words, Section))}, {"argv.plain", lines(Plain)}]
        ++ [{"flags", lines(Words)} || Words =/= []]
        ++ [{"cloud.config", Each} || #{config := Each} <- [Section]].

%% A release that was shaken, and that nothing asked for a node's name, has lost the code for it: its boot script says
%% so.
without_node(#{node := _} = Section, Argv, Root) ->
    case is_lonely(Argv, Root) of
        true ->
            unibeam_cloud:say("node is left out: this release was shaken without distribution; build it with "
                              "--flag '-sname NAME'."),
            maps:remove(node, Section);
        false -> Section
    end;
without_node(Section, _, _) ->
    Section.

is_lonely([<<"-boot">>, Script | _], Root) ->
    case prim_file:read_file([Root, binary_to_list(Script), ".boot"]) of
        {ok, Bytes} -> holds({start_distribution, false}, binary_to_term(Bytes));
        _ -> false
    end;
is_lonely([_ | Rest], Root) -> is_lonely(Rest, Root);
is_lonely([], _) -> false.

holds(Term, Term) -> true;
holds(Term, [First | Rest]) -> holds(Term, First) orelse holds(Term, Rest);
holds(Term, Tuple) when is_tuple(Tuple) -> holds(Term, tuple_to_list(Tuple));
holds(_, _) -> false.

maps_get(Key, Map) ->
    case Map of #{Key := Value} -> Value; _ -> none end.

%% A node that had no name needs what a machine without epmd needs. It is reached from outside only where its cookie was
%% said, too: that of an image would be known to others.
node_words(Section, Hostname, Argv) ->
    Cookie = case Section of #{cookie := Each} -> [<<"-setcookie">>, Each]; _ -> [] end,
    Name = case maps_get(node, Section) of
        none -> [];
        Given ->
            Whole = case binary:match(Given, <<"@">>) of
                nomatch -> <<Given/binary, "@", (qualified(Hostname))/binary>>;
                _ -> Given
            end,
            [_, Host] = binary:split(Whole, <<"@">>),
            Flag = case binary:match(Host, <<".">>) of nomatch -> <<"-sname">>; _ -> <<"-name">> end,
            [Flag, Whole]
    end,
    Local = case Name =/= [] andalso not lists:member(<<"-epmd_module">>, Argv) of
        true -> [<<"-start_epmd">>, <<"false">>, <<"-epmd_module">>, <<"unibeam_epmd">>]
                 ++ case Cookie of
                     [] -> [<<"-kernel">>, <<"inet_dist_use_interface">>, <<"{127,0,0,1}">>];
                     _ -> []
                 end;
        false -> []
    end,
    Name ++ Cookie ++ Local.

%% The name that PID 1 gives the machine: with a dot in any case (init.c).
qualified(none) ->
    case prim_file:read_file("/proc/sys/kernel/hostname") of
        {ok, Text} -> qualified(hd(binary:split(Text, <<"\n">>)));
        _ -> <<"beam.unibeam">>
    end;
qualified(Name) ->
    case binary:match(Name, <<".">>) of nomatch -> <<Name/binary, ".unibeam">>; _ -> Name end.

%% The new words go before those that start the agent, and what they replace goes.
edited(Argv, New, Section) ->
    Gone = replaced(New, Section),
    insert(without(Argv, Gone), New).

replaced(New, Section) ->
    Single = [Flag || Flag <- ?SINGLE, lists:member(Flag, New)],
    Names = case lists:member(<<"-name">>, Single) orelse lists:member(<<"-sname">>, Single) of
        true -> [<<"-name">>, <<"-sname">> | Single];
        false -> Single
    end,
    %% With a name and a cookie of its own a node may be found by others.
    case Section of
        #{node := _, cookie := _} -> [<<"inet_dist_use_interface">> | Names];
        _ -> Names
    end.

without([<<"-extra">> | _] = Rest, _) -> Rest;
without([<<"-kernel">>, <<"inet_dist_use_interface">> = Key, _ | Rest], Gone) ->
    case lists:member(Key, Gone) of
        true -> without(Rest, Gone);
        false -> [<<"-kernel">>, Key, <<"{127,0,0,1}">> | without(Rest, Gone)]
    end;
without([Flag, Value | Rest], Gone) ->
    case lists:member(Flag, Gone) of
        true -> without(Rest, Gone);
        false -> [Flag | without([Value | Rest], Gone)]
    end;
without(Rest, _) -> Rest.

insert([<<"-s">>, <<"unibeam_agent">> | _] = Rest, New) -> New ++ Rest;
insert([<<"-extra">> | _] = Rest, New) -> New ++ Rest;
insert([Word | Rest], New) -> [Word | insert(Rest, New)];
insert([], New) -> New.

lines(Words) ->
    << <<Word/binary, "\n">> || Word <- Words >>.
